#!/usr/bin/env python3
"""Kills runs at random moments and goes on with them: the bytes must be those of a run that nobody killed.

    tools/killed.py PROGRAM MODEL [ROUNDS [LINES]]        50 rounds of 2,000 lines unless said otherwise

Each round draws a command, an output format, a number of threads and a signal (SIGKILL, SIGTERM, SIGINT), and starts the
run with `--resume` again and again until it comes to its end. A model with a classification head takes part in
`classify` too. Nothing but Python's standard library.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time

TEXTS = ["a cat", 'bad "dogs"" sleep.', "", "good, not bad, and some more words than that", "a,\tb", "Naïve “text” – ok"]
COMMANDS = {
    "embed": ["npy", "f32", "f16", "base64", "jsonl", "csv"],
    "tokenize": ["jsonl", "tsv"],
    "classify": ["tsv", "jsonl", "csv"],
}
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def works(program, model, command, form):
    """Whether the model has what the command needs, and the command has the format."""
    arguments = [program, command, "-m", model, "--format", form, "-o", os.devnull]
    return subprocess.run(arguments, input=b"a line\n", stderr=subprocess.DEVNULL, check=False).returncode == 0


def write_inputs(folder, lines, draw):
    with open(f"{folder}/in.txt", "w", encoding="utf-8") as text:
        text.writelines(f"{draw.choice(TEXTS)}\n" for _ in range(lines))
    with open(f"{folder}/in.csv", "w", encoding="utf-8", newline="") as table:
        table.write("n,text\n")
        for number in range(lines):
            cell = (draw.choice(TEXTS) + draw.choice(["", "\n\n"])).replace('"', '""')
            table.write(f'{number},"{cell}"\n')


def whole(arguments, path):
    """Seconds that a run takes which nobody kills."""
    began = time.monotonic()
    subprocess.run([*arguments, "-o", path], check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def killed(arguments, path, how, longest, draw):
    """How often the run was killed before it reached its end."""
    kills = 0
    while True:
        child = subprocess.Popen([*arguments, "-o", path, "--resume"], stderr=subprocess.DEVNULL)
        try:
            # Longer from try to try, so that every machine comes to an end.
            child.wait(draw.uniform(0, longest) * (1 + kills / 10))
        except subprocess.TimeoutExpired:
            child.send_signal(how)
        code = child.wait()
        if code == 0:
            return kills
        if code not in (-how, 128 + how):
            sys.exit(f"{arguments}: exit code {code} after {how.name}")
        kills += 1


def main(program, model, rounds, lines):
    draw = random.Random(1)
    possible = [
        (command, form) for command, forms in COMMANDS.items() for form in forms if works(program, model, command, form)
    ]
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder, lines, draw)
        for number in range(1, rounds + 1):
            command, form = draw.choice(possible)
            source, threads, how = draw.choice(["in.txt", "in.csv"]), draw.choice(["1", "2"]), draw.choice(SIGNALS)
            arguments = [program, command, "-m", model, "-f", f"{folder}/{source}", "--format", form, "--threads", threads]
            expected, found = f"{folder}/whole", f"{folder}/pieces"
            seconds = whole(arguments, expected)
            kills = killed(arguments, found, how, seconds, draw)
            with open(expected, "rb") as one, open(found, "rb") as other:
                same = one.read() == other.read()
            total += kills
            print(f"{number}: {command} {source} as {form}, {threads} threads, {how.name}: killed {kills} times", flush=True)
            if not same:
                sys.exit(f"round {number}: other bytes than without a kill")
            os.remove(expected)
            os.remove(found)
    print(f"{rounds} rounds of {lines} records, killed {total} times in all: the same bytes each time")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    rounds, lines, *_ = [*map(int, sys.argv[3:]), *[50, 2000][len(sys.argv) - 3 :]]
    main(sys.argv[1], sys.argv[2], rounds, lines)

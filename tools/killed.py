#!/usr/bin/env python3
"""Kills runs at random moments and goes on with them: the bytes must be those of a run that nobody killed.

    tools/killed.py PROGRAM MODEL [ROUNDS [LINES]]        50 rounds of 2,000 lines unless said otherwise

Each round draws a command that the model has the head for, an output format, an input (lines, CSV, JSONL; some records of
the latter two are bad), a number of threads and a signal (SIGKILL, SIGTERM, SIGINT), and starts the run with `--resume`
again and again until it comes to its end. Where records are lines, some rounds append with `--resume-from` instead, behind
as many whole records as the output holds. Nothing but Python's standard library.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

TEXTS = ["a cat", 'bad "dogs"" sleep.', "", "good, not bad, and some more words than that", "a,\tb", "Naïve “text” – ok"]
RECORDS = ["text", "tsv", "jsonl", "csv"]
COMMANDS = {
    "embed": ["npy", "f32", "raw", "base64", "jsonl", "csv", "tsv"],
    "tokenize": ["text", "ids", "jsonl"],
    "classify": RECORDS,
    "tag": RECORDS,
    "answer": RECORDS,
    "fill": RECORDS,
    "next": RECORDS,
    "choose": RECORDS,
}
# Formats of which a record is a line.
LINES = ["text", "ids", "base64", "jsonl", "tsv"]
# What a command needs beside the text, by the kind of input.
OPTIONS = {
    "answer": {kind: ["--question", "where is it"] for kind in ["txt", "csv", "jsonl"]},
    "next": {"txt": ["--pairs"], "csv": ["--pair-field", "more"], "jsonl": ["--pair-field", "more"]},
    "choose": {"txt": [], "csv": ["--choices-columns", "more,n"], "jsonl": []},
}
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
DONE, SOME_BAD, MODEL = 0, 3, 4


def works(program, model, command, form):
    """Whether the model has what the command needs. A format that the command does not have is a mistake here."""
    options = OPTIONS.get(command, {}).get("txt", [])
    arguments = [program, command, "-m", model, "--format", form, *options]
    ran = subprocess.run(arguments, input=b"a line\tmore [MASK]\n", capture_output=True, check=False)
    # Without a mask token of that name the line is a bad record, which is no reason to leave `fill` out.
    if ran.returncode not in (DONE, 1, MODEL):
        sys.exit(f"{arguments}: exit code {ran.returncode}: {ran.stderr.decode()}")
    return ran.returncode != MODEL


def write_inputs(folder, lines, draw):
    """One record in twenty of a table or of JSON is bad; of lines those are for `next` that have a tab too many."""
    with open(f"{folder}/in.txt", "w", encoding="utf-8") as text:
        text.writelines(f"{draw.choice(TEXTS)} [MASK]\t{draw.choice(TEXTS)}\n" for _ in range(lines))
    with open(f"{folder}/in.csv", "w", encoding="utf-8", newline="") as table:
        table.write("n,text,more\n")
        for number in range(lines):
            cell = (draw.choice(TEXTS) + draw.choice([" [MASK]", "\n\n[MASK]"])).replace('"', '""')
            table.write(f'{number},"{cell}",some more\n' if draw.random() > 0.05 else f"{number}\n")
    with open(f"{folder}/in.jsonl", "w", encoding="utf-8") as objects:
        for number in range(lines):
            text = draw.choice(TEXTS) + " [MASK]" if draw.random() > 0.05 else number
            record = {"n": number, "text": text, "more": "some more", "choices": ["some more", "a cat"]}
            objects.write(json.dumps(record) + "\n")


def whole(arguments, path):
    """Seconds that a run takes which nobody kills."""
    began = time.monotonic()
    code = subprocess.run([*arguments, "-o", path], check=False, stderr=subprocess.DEVNULL).returncode
    if code not in (DONE, SOME_BAD):
        sys.exit(f"{arguments}: exit code {code} of a run that nobody killed")
    return time.monotonic() - began


def resumed(arguments, path):
    """Starts the run that goes on with the output by itself."""
    return subprocess.Popen([*arguments, "-o", path, "--resume"], stderr=subprocess.DEVNULL)


def appended(arguments, path):
    """Starts the run that appends to the whole lines of the output."""
    with open(path, "a+b") as output:
        output.seek(0)
        text = output.read()
        text = text[: text.rfind(b"\n") + 1]
        records = text.count(b"\n") - ("tsv" in arguments)
        # A header alone is written again.
        output.truncate(len(text) if records > 0 else 0)
        more = ["--resume-from", str(records)] if records > 0 else []
        return subprocess.Popen([*arguments, *more], stdout=output, stderr=subprocess.DEVNULL)


def killed(arguments, path, start, how, longest, draw):
    """How often the run was killed before it reached its end."""
    kills = 0
    while True:
        child = start(arguments, path)
        try:
            # Longer from try to try, so that every machine comes to an end.
            child.wait(draw.uniform(0, longest) * (1 + kills / 10))
        except subprocess.TimeoutExpired:
            child.send_signal(how)
        code = child.wait()
        if code in (DONE, SOME_BAD):
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
            # `ids` has no room for error records.
            kind = draw.choice(["txt", "csv", "jsonl"]) if form != "ids" else "txt"
            threads, how = draw.choice(["1", "2"]), draw.choice(SIGNALS)
            start = draw.choice([resumed, appended]) if form in LINES else resumed
            arguments = [program, command, "-m", model, "-f", f"{folder}/in.{kind}", "--format", form]
            arguments += ["--threads", threads]
            arguments += OPTIONS.get(command, {}).get(kind, [])
            arguments += ["--on-error", "record"] if form != "ids" else []
            expected, found = f"{folder}/whole", f"{folder}/pieces"
            seconds = whole(arguments, expected)
            kills = killed(arguments, found, start, how, seconds, draw)
            with open(expected, "rb") as one, open(found, "rb") as other:
                same = one.read() == other.read()
            total += kills
            what = f"{command} {kind} as {form}, {threads} threads, {start.__name__}, {how.name}"
            print(f"{number}: {what}: killed {kills} times", flush=True)
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

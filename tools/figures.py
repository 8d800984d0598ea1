#!/usr/bin/env python3
"""Figures of the program as a whole: size, time from start to the first answer, peak memory, and the rate from text to
vectors through a pipe against the rate from token ids.

    tools/figures.py PROGRAM MODEL --text FILE [--peer PEER] [--engine ENGINE] [--lines N] [--rounds N] [--json FILE]

PROGRAM is the bertlet to measure, PEER the program of examples/peer.rs, ENGINE a bertlet without a model, FILE one text a
line, taken from its beginning again where N lines are more than it has. All are run several times, and the fastest and
the median run are shown. Needs Python 3.9 alone, and Linux.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time


def high_water(pid):
    """Peak memory of a running process so far in KiB, or nothing where it has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), None)
    except OSError:
        return None


def run(command, stdin=None, env=None):
    """Runs a command to its end: seconds, processor seconds, peak memory in MB.

    What the system counts as a child's peak begins with this program's own memory, which held the child before it was
    started: where that is the larger, the peak is what the child said of itself at most 10 ms before its end.
    """
    began = time.perf_counter()
    source = open(stdin, "rb") if stdin else subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=source, stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})}
    )
    seen, ended = [], threading.Event()

    def watch():
        while not ended.wait(0.01):
            seen.append(high_water(process.pid) or 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    ended.set()
    watcher.join()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = usage.ru_maxrss if usage.ru_maxrss > own * 1.02 else max(seen, default=0) or usage.ru_maxrss
    return seconds, usage.ru_utime + usage.ru_stime, peak * 1024 / 1e6


def first_answer(command, line):
    """Seconds from the start of a command to its answer to the first line of a pipe that stays open."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    seconds = time.perf_counter() - began
    process.stdin.close()
    if process.wait() != 0 or not answer:
        sys.exit(f"{' '.join(command)}: no answer")
    return seconds


def rate_of_ids(peer, model, folder, step):
    """Texts and seconds of the fastest pass from token ids, with one thread each for two engines."""
    command = [peer, "tput", model, "2", "spread", "16", str(step), "1"]
    env = {**os.environ, "PEERS_DIR": folder}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    result = json.loads(out.removeprefix("RESULT "))
    return result["n"], min(result["t"]["16"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--text", required=True)
    parser.add_argument("--peer")
    parser.add_argument("--engine")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    program, model = arguments.program, arguments.model
    embed = [program, "embed", "-m", model, "--format", "f32", "--threads", "2"]
    rows = {}

    def row(name, values, unit, best=min):
        rows[name] = {"best": best(values), "median": statistics.median(values), "unit": unit, "runs": len(values)}
        print(f"| {name} | {rows[name]['best']:.4g} | {rows[name]['median']:.4g} | {unit} | {len(values)} |", flush=True)

    print("| | best | median | | runs |\n|---|--:|--:|---|--:|")
    row("program", [os.path.getsize(program) / 1e6], "MB")
    if arguments.engine:
        row("program without a model", [os.path.getsize(arguments.engine) / 1e6], "MB")
    row("model", [os.path.getsize(model) / 1e6], "MB")

    with open(arguments.text, "rb") as file:
        texts = file.read().splitlines()
    one = [*embed[:-2], texts[0].decode()]
    runs = [run(one) for _ in range(31)]
    row("one text as an argument: start to end", [1e3 * seconds for seconds, _, _ in runs], "ms")
    row("… peak memory", [memory for _, _, memory in runs], "MB")
    piped = [program, "embed", "-m", model]
    row("a pipe: start to the first answer", [1e3 * first_answer(piped, texts[0]) for _ in range(31)], "ms")

    lines = [texts[index % len(texts)] for index in range(arguments.lines)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "lines.txt")
        with open(path, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        if arguments.peer:
            # The same texts as token ids; about a tenth of them is enough.
            step = max(1, len(lines) // 10_000)
            part = b"\n".join(lines[::step]) + b"\n"
            tokenize = [program, "tokenize", "-m", model, "--format", "ids"]
            ids = subprocess.run(tokenize, input=part, check=True, capture_output=True).stdout
            with open(os.path.join(folder, "inputs.json"), "w") as file:
                sequences = [[int(id) for id in text.split()] for text in ids.splitlines()]
                json.dump({"spread": [{"ids": sequence[:512]} for sequence in sequences]}, file)
        runs, from_ids = [], []
        for _ in range(arguments.rounds):
            # In turns, so that both see the same machine.
            if arguments.peer:
                count, seconds = rate_of_ids(arguments.peer, model, folder, 1)
                from_ids.append(count / seconds)
            runs.append(run(embed, path))
        row(f"{len(lines):,} piped lines to vectors, 2 threads", [len(lines) / run[0] for run in runs], "lines/s", max)
        row("… processor time", [1e6 * run[1] / len(lines) for run in runs], "µs a line")
        row("… peak memory", [run[2] for run in runs], "MB")
        if from_ids:
            row("the same from token ids, 2 engines", from_ids, "lines/s", max)
            ratio = rows[f"{len(lines):,} piped lines to vectors, 2 threads"]["best"] / max(from_ids)
            row("… lines piped : token ids", [ratio], "of the best runs")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

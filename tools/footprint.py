#!/usr/bin/env python3
"""Time and memory that the program takes, as docs/shipping.md states them.

    tools/footprint.py start  PROGRAM MODEL          start to end of a process that answers one line, warm and cold
    tools/footprint.py memory PROGRAM MODEL          peak memory of one line, of bulk, of endless lines; limited memory
    tools/footprint.py stream PROGRAM MODEL LINES COMMAND [FILE]    memory each second while LINES lines, made up or those
                                                     of FILE again and again, go through a command

Nothing but Python's standard library. A MODEL without a classification head is used with `embed` only.
"""

import itertools
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time

WORDS = (
    "the a of and to in film story was is it that actor scene plot good bad great dull slow moving charming evening "
    "music ending character director script dialogue performance camera audience laughter tears would watch again never "
    "waste hours money ticket recommend friends everybody brilliant terrible unexpected boring"
).split()
TEXT = "I would watch it again."


def drop(path):
    """Takes a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def timed(arguments):
    """Milliseconds that a process takes, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def peak(arguments, stdin=subprocess.DEVNULL, limit=None):
    """Exit code, peak resident memory in MB and what the process says."""
    before = (lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))) if limit else None
    child = subprocess.Popen(
        arguments, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=before
    )
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    # The kernel counts what this process had when it forked; a figure below that would not be the child's.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    note = " or less" if usage.ru_maxrss <= own * 1.02 else ""
    return child.returncode, f"{usage.ru_maxrss * 1024 / 1e6:.1f}{note}", said.strip()


def text_lines(count, seed=7):
    """Lines of 3 to 35 words."""
    draw = random.Random(seed)
    for _ in range(count):
        yield " ".join(draw.choices(WORDS, k=draw.randint(3, 35)))


def fed(arguments, chunks, limit=None):
    """As `peak`, with these bytes from a pipe."""
    read, write = os.pipe()

    def feed():
        with os.fdopen(write, "wb") as pipe:
            try:
                for chunk in chunks:
                    pipe.write(chunk)
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=feed)
    thread.start()
    result = peak(arguments, read, limit)
    os.close(read)
    thread.join()
    return result


def start(program, model):
    arguments = [program, "embed", "-m", model, TEXT]
    warm = sorted(timed(arguments) for _ in range(50))
    cold = []
    for _ in range(20):
        drop(program)
        drop(model)
        cold.append(timed(arguments))
    cold.sort()
    print("| start to end of the process, ms | minimum | median | maximum |")
    print("|---|---|---|---|")
    for name, times in (("warm, 50 runs", warm), ("cold, 20 runs", cold)):
        print(f"| {name} | {times[0]:.1f} | {statistics.median(times):.1f} | {times[-1]:.1f} |")


def unbroken():
    """Lines without a blank: one word, combining marks, ideographs; each twice, so that both threads have one."""
    for text in ("a", "\u0301", "中") * 2:
        # In pieces: what this process holds would be counted.
        piece = text.encode() * 1000
        for _ in range(7_999_999 // len(piece)):
            yield piece
        yield b"\n"


def memory(program, model):
    embed = [program, "embed", "-m", model]
    bulk = [(line + "\n").encode() for line in text_lines(10_000)]
    endless = [b"word and " * 100_000] * 111
    rows = [
        ("one line", peak([*embed, TEXT])),
        ("one text of 8 MB", fed(embed, [b"some words " * 720_000])),
        ("one text of 0.8 MB, --long window", fed([*embed, "--long", "window"], [b"some words " * 72_000])),
        ("10,000 lines, --threads 1", fed([*embed, "--threads", "1"], bulk)),
        ("10,000 lines, --threads 2", fed([*embed, "--threads", "2"], bulk)),
        ("one line of 100 MB, --on-error record", fed([*embed, "--on-error", "record"], endless)),
        ("a line, with 64 MB of address space", fed(embed, [b"a line\n"], 65_536 << 10)),
        ("10,000 lines, with 64 MB of address space", fed([*embed, "--threads", "2"], bulk, 65_536 << 10)),
        ("a line, with 16 MB of address space", fed(embed, [b"a line\n"], 16_384 << 10)),
        ("6 lines of 8 MB without blanks, --threads 2", fed([*embed, "--threads", "2"], unbroken())),
    ]
    print("| | exit code | peak memory, MB | message |")
    print("|---|---|---|---|")
    for name, (code, megabytes, said) in rows:
        print(f"| {name} | {code} | {megabytes} | {said} |")


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmRSS")), 0)


def stream(program, model, count, command, path=None):
    if path:
        with open(path, "rb") as file:
            lines = [line for _, line in zip(range(count), itertools.cycle(file.read().splitlines(keepends=True)))]
    else:
        lines = [(line + "\n").encode() for line in text_lines(1000)] * (count // 1000)
    arguments = [program, command, "-m", model]
    if command == "embed":
        arguments += ["--format", "raw"]
    child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    taken = [0]

    def feed():
        for begin in range(0, len(lines), 1000):
            child.stdin.write(b"".join(lines[begin : begin + 1000]))
            taken[0] = min(begin + 1000, len(lines))
        child.stdin.close()

    answered = [0]

    def read():
        while piece := child.stdout.read1(1 << 16):
            answered[0] += piece.count(b"\n") if command == "classify" else len(piece)

    threads = [threading.Thread(target=feed), threading.Thread(target=read)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    samples = []
    while threads[1].is_alive():
        samples.append((time.monotonic() - began, taken[0], resident(child.pid)))
        threads[1].join(1)
    for thread in threads:
        thread.join()
    said = child.stderr.read().decode().strip()
    code = child.wait()
    samples = [sample for sample in samples if sample[2]]
    unit = "lines" if command == "classify" else "bytes"
    print(f"{command}: {len(lines)} lines in, {answered[0]} {unit} out, exit code {code} {said}")
    print(f"{len(samples)} samples, a second apart:\n")
    print("| seconds | lines read | resident, MB |")
    print("|---|---|---|")
    shown = range(1, len(samples), max(1, len(samples) // 10))
    for index in [*shown, len(samples) - 1]:
        seconds, lines, kilobytes = samples[index]
        print(f"| {seconds:.0f} | {lines:,} | {kilobytes * 1024 / 1e6:.1f} |")
    settled = [sample[2] * 1024 / 1e6 for sample in samples[len(samples) // 10 + 1 :]] or [0]
    print(f"\nafter the first tenth: {min(settled):.1f} to {max(settled):.1f} MB\n", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", program, model]:
            start(program, model)
        case ["memory", program, model]:
            memory(program, model)
        case ["stream", program, model, lines, "classify" | "embed" as command, *path] if len(path) < 2:
            stream(program, model, int(lines), command, *path)
        case _:
            sys.exit(__doc__)

#!/usr/bin/env python3
"""How well does an embedding model sort texts by the names of their classes alone? Prints a table.

    python tools/zero_shot.py --bertlet target/release/bertlet --model minilm-int8.bertlet --data ../shared/data

Runs `bertlet classify --labels-file` on CLINC150's validation set (150 intents, without those that are out of scope) and
on AG News (4 topics). The labels are the classes' names as they stand in the data, with blanks for underscores; nothing
is trained and no example is seen. Needs Python alone.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def read_table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def name(label):
    return label.replace("_", " ")


def measure(bertlet, model, rows, templates):
    """Accuracy among the first and the first five labels, for each template."""
    labels = sorted({row["label"] for row in rows})
    for template in templates:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "labels.txt"
            file.write_text("\n".join(map(name, labels)) + "\n", encoding="utf-8")
            command = [bertlet, "classify", "-m", model, "--labels-file", file, "--zero-shot", "embedding", "--format", "jsonl", "-k", "5",
                       "--hypothesis-template", template]
            texts = "".join(row["text"] + "\n" for row in rows)
            done = subprocess.run(command, input=texts, capture_output=True, text=True, encoding="utf-8")
        if done.returncode != 0:
            sys.exit(done.stderr)
        answers = [json.loads(line)["labels"] for line in done.stdout.splitlines()]
        assert len(answers) == len(rows)
        first = sum(answer[0] == name(row["label"]) for answer, row in zip(answers, rows))
        five = sum(name(row["label"]) in answer for answer, row in zip(answers, rows))
        yield template, 100 * first / len(rows), 100 * five / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bertlet", default="bertlet")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="take only the first so many texts of a set")
    arguments = parser.parse_args()
    clinc = [row for row in read_table(arguments.data / "clinc150/val.tsv") if row["label"] != "oos"]
    sets = [
        ("CLINC150 validation", clinc, ["{}"]),
        ("AG News", read_table(arguments.data / "agnews/dev.tsv"), ["{}", "This text is about {}."]),
    ]
    print("| texts | labels | template | accuracy, % | among five, % |\n|---|---|---|---|---|")
    for title, rows, templates in sets:
        rows = rows[: arguments.limit]
        labels = len({row["label"] for row in rows})
        for template, first, five in measure(arguments.bertlet, arguments.model, rows, templates):
            shown = f"{five:.2f}" if labels > 5 else "–"
            print(f"| {title}, {len(rows)} | {labels} | `{template}` | {first:.2f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()

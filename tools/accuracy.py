#!/usr/bin/env python3
"""How faithful are .bertlet models? Runs `bertlet` and f32 PyTorch on the same texts and prints a table.

    python tools/accuracy.py --bertlet target/release/bertlet --data ../shared/data --cache ~/.cache/bertlet-accuracy \\
        --embedder-checkpoint all-MiniLM-L6-v2 --embedder f16=minilm-f16.bertlet --embedder int8=minilm-int8.bertlet \\
        --classifier-checkpoint minilm-l6-sentiment --classifier int8=models/default.bertlet --json accuracy.json

The data folder holds tab-separated files with a header: `stsb/dev.tsv` (text, text2, score), `agnews/dev.tsv` (text),
`sst2/dev.tsv` (text, label). Needs the packages of tests/golden/requirements.txt. PyTorch's results are kept in the
cache folder, by the content of checkpoint and texts, so that only the first run takes minutes.

With --check the exit code is 1 if a model misses the project's limits (LIMITS below), and each miss is named on stderr.
"""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy
from scipy.stats import spearmanr

LIMITS = {
    # precision: {figure: (at least, at most)}; those of int8 are below what quantization costs, f16 is rounding alone.
    "f16": {
        "stsb_cosine_min": (0.99999, None),
        "logit_difference_max": (None, 2e-3),
    },
    "int8": {
        "stsb_cosine_mean": (0.9994, None),
        "stsb_cosine_min": (0.9985, None),
        "agnews_cosine_mean": (0.9994, None),
        "agnews_cosine_min": (0.9985, None),
        "stsb_spearman_loss": (None, 0.1),
        "accuracy_loss": (None, 0.3),
        "label_agreement": (99.5, None),
    },
}
AGNEWS_TEXTS = 1000


def read_table(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows:
        sys.exit(f"error: {path}: no rows")
    return rows


def cached(cache, kind, checkpoint, texts, compute):
    """`compute()`, kept in the cache folder under a name made of everything that the result depends on."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".bin", ".txt"):
            digest.update(str(path.relative_to(checkpoint)).encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update("\n".join(texts).encode())
    packages = [f"{name} {version(name)}" for name in ("torch", "transformers", "sentence-transformers")]
    digest.update(" ".join(packages).encode())
    path = cache / f"{kind}-{digest.hexdigest()[:20]}.npy"
    if not path.exists():
        print(f"computing {path.name} with {', '.join(packages)}", file=sys.stderr)
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        with open(partial, "wb") as file:
            numpy.save(file, compute())
        partial.rename(path)
    return numpy.load(path)


def reference_vectors(checkpoint, texts):
    import sentence_transformers
    import torch

    model = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu", model_kwargs={"dtype": torch.float32})
    return model.encode(texts, batch_size=32, show_progress_bar=False)


def reference_logits(checkpoint, texts):
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    logits = numpy.zeros((len(texts), model.config.num_labels), dtype=numpy.float32)
    with torch.no_grad():
        for start in range(0, len(texts), 32):
            rows = order[start : start + 32]
            logits[rows] = model(**tokenizer([texts[i] for i in rows], truncation=True, padding=True, return_tensors="pt")).logits
    return logits


def run_bertlet(bertlet, arguments, texts):
    """Standard output of `bertlet` for the texts, a line each, on standard input."""
    for text in texts:
        if "\n" in text or "\r" in text:
            sys.exit(f"error: a text holds a line break: {text!r}")
    command = [str(bertlet), *arguments]
    done = subprocess.run(command, input="".join(t + "\n" for t in texts).encode(), stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)}: exit code {done.returncode}")
    return done.stdout


def bertlet_vectors(bertlet, model, texts, width):
    output = run_bertlet(bertlet, ["embed", "-m", str(model), "--format", "f32"], texts)
    expected = len(texts) * width * 4
    if len(output) != expected:
        sys.exit(f"error: {model}: embed wrote {len(output)} bytes for {len(texts)} texts, expected {expected}")
    return numpy.frombuffer(output, dtype="<f4").reshape(len(texts), width)


def bertlet_logits(bertlet, model, texts, labels):
    output = run_bertlet(bertlet, ["classify", "-m", str(model), "--format", "jsonl", "--function", "none", "--all"], texts)
    lines = output.decode().splitlines()
    if len(lines) != len(texts):
        sys.exit(f"error: {model}: classify wrote {len(lines)} lines for {len(texts)} texts")
    logits = numpy.zeros((len(texts), len(labels)))
    for row, line in zip(logits, lines):
        scores = {entry["label"]: entry["score"] for entry in json.loads(line)}
        row[:] = [scores[label] for label in labels]
    return logits


def cosine(a, b):
    """Cosine of each row of `a` to the same row of `b`."""
    a, b = a.astype(numpy.float64), b.astype(numpy.float64)
    return (a * b).sum(1) / numpy.sqrt((a * a).sum(1) * (b * b).sum(1))


def embedder_report(options):
    """Rows of the sentence vector table: the reference first, then each model."""
    pairs = read_table(options.data / "stsb/dev.tsv")
    gold = [float(row["score"]) for row in pairs]
    stsb = sorted({row[column] for row in pairs for column in ("text", "text2")})
    index = {text: i for i, text in enumerate(stsb)}
    left, right = ([index[row[column]] for row in pairs] for column in ("text", "text2"))
    agnews = [row["text"] for row in read_table(options.data / "agnews/dev.tsv")[:AGNEWS_TEXTS]]
    texts = stsb + agnews

    checkpoint = options.embedder_checkpoint
    reference = cached(options.cache, "vectors", checkpoint, texts, lambda: reference_vectors(checkpoint, texts))

    def spearman(vectors):
        return 100 * spearmanr(cosine(vectors[left], vectors[right]), gold).statistic

    rows = [{"model": "f32 (PyTorch)", "stsb_spearman": spearman(reference)}]
    for name, model in options.embedder:
        vectors = bertlet_vectors(options.bertlet, model, texts, reference.shape[1])
        row = {"model": name, "bytes": model.stat().st_size, "stsb_spearman": spearman(vectors)}
        row["stsb_spearman_loss"] = rows[0]["stsb_spearman"] - row["stsb_spearman"]
        both = cosine(vectors, reference)
        for part, values in (("stsb", both[: len(stsb)]), ("agnews", both[len(stsb) :])):
            row[f"{part}_cosine_mean"] = values.mean()
            row[f"{part}_cosine_p1"] = numpy.percentile(values, 1)
            row[f"{part}_cosine_min"] = values.min()
        rows.append(row)
    return {"checkpoint": checkpoint.name, "stsb_sentences": len(stsb), "stsb_pairs": len(pairs), "agnews_texts": len(agnews), "rows": rows}


def classifier_report(options):
    """Rows of the classification table: the reference first, then each model."""
    data = read_table(options.data / "sst2/dev.tsv")
    texts = [row["text"] for row in data]
    checkpoint = options.classifier_checkpoint
    names = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["id2label"]
    labels = [names[str(i)] for i in range(len(names))]
    gold = numpy.array([labels.index(row["label"]) for row in data])
    reference = cached(options.cache, "logits", checkpoint, texts, lambda: reference_logits(checkpoint, texts))

    def accuracy(logits):
        return 100 * (logits.argmax(1) == gold).mean()

    rows = [{"model": "f32 (PyTorch)", "accuracy": accuracy(reference)}]
    for name, model in options.classifier:
        logits = bertlet_logits(options.bertlet, model, texts, labels)
        rows.append({
            "model": name,
            "bytes": model.stat().st_size,
            "accuracy": accuracy(logits),
            "accuracy_loss": rows[0]["accuracy"] - accuracy(logits),
            "label_agreement": 100 * (logits.argmax(1) == reference.argmax(1)).mean(),
            "logit_difference_mean": numpy.abs(logits - reference).mean(),
            "logit_difference_max": numpy.abs(logits - reference).max(),
        })
    return {"checkpoint": checkpoint.name, "sst2_sentences": len(texts), "rows": rows}


COLUMNS = {
    "model": ("model", "{}"),
    "bytes": ("bytes", "{:,}"),
    "stsb_spearman": ("STS-B Spearman", "{:.2f}"),
    "stsb_cosine_mean": ("STS-B cosine: mean", "{:.7f}"),
    "stsb_cosine_p1": ("1st percentile", "{:.7f}"),
    "stsb_cosine_min": ("minimum", "{:.7f}"),
    "agnews_cosine_mean": ("AG News cosine: mean", "{:.7f}"),
    "agnews_cosine_p1": ("1st percentile", "{:.7f}"),
    "agnews_cosine_min": ("minimum", "{:.7f}"),
    "accuracy": ("SST-2 accuracy", "{:.2f}"),
    "label_agreement": ("label agreement %", "{:.2f}"),
    "logit_difference_mean": ("logit difference: mean", "{:.2e}"),
    "logit_difference_max": ("largest", "{:.2e}"),
}


def markdown(rows):
    columns = [c for c in COLUMNS if any(c in row for row in rows)]
    lines = ["| " + " | ".join(COLUMNS[c][0] for c in columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(COLUMNS[c][1].format(row[c]) if c in row else "" for c in columns) + " |")
    return "\n".join(lines)


def misses(report):
    """What lies outside LIMITS; a model is judged by the precision that its name begins with."""
    for part in report.values():
        for row in part["rows"]:
            for precision, limits in LIMITS.items():
                if not row["model"].startswith(precision):
                    continue
                for figure, (least, most) in limits.items():
                    value = row.get(figure)
                    if value is None:
                        continue
                    if least is not None and value < least:
                        yield f"{part['checkpoint']} {row['model']}: {figure} is {value:.7g}, expected at least {least}"
                    if most is not None and value > most:
                        yield f"{part['checkpoint']} {row['model']}: {figure} is {value:.7g}, expected at most {most}"


def named_model(argument):
    name, separator, path = argument.partition("=")
    if not separator or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{argument!r}: expected NAME=FILE with a file that exists, as int8=model.bertlet")
    return name, Path(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bertlet", type=Path, help="the bertlet program; needed as soon as a model is given")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder (default: %(default)s)")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps PyTorch's results")
    parser.add_argument("--embedder-checkpoint", type=Path, help="sentence-transformers directory of the reference")
    parser.add_argument("--embedder", type=named_model, action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--classifier-checkpoint", type=Path, help="BertForSequenceClassification directory of the reference")
    parser.add_argument("--classifier", type=named_model, action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--json", type=Path, help="writes all figures here")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a limit is missed")
    options = parser.parse_args()
    for kind in ("embedder", "classifier"):
        if getattr(options, kind) and not getattr(options, f"{kind}_checkpoint"):
            parser.error(f"--{kind} needs --{kind}-checkpoint")
    if (options.embedder or options.classifier) and not options.bertlet:
        parser.error("--embedder and --classifier need --bertlet")
    if not (options.embedder_checkpoint or options.classifier_checkpoint):
        parser.error("give --embedder-checkpoint, --classifier-checkpoint or both")

    report = {}
    if options.embedder_checkpoint:
        report["embedder"] = part = embedder_report(options)
        print(f"{part['checkpoint']}: {part['stsb_sentences']} sentences of STS-B dev ({part['stsb_pairs']} pairs), {part['agnews_texts']} texts of AG News\n")
        print(markdown(part["rows"]) + "\n")
    if options.classifier_checkpoint:
        report["classifier"] = part = classifier_report(options)
        print(f"{part['checkpoint']}: {part['sst2_sentences']} sentences of SST-2 dev\n")
        print(markdown(part["rows"]) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, default=float) + "\n", encoding="utf-8")
    missed = list(misses(report))
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())

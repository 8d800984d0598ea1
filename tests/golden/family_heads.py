"""Makes `family-heads/`: every head that transformers has for BERT's relatives, and what it computes.

    venv/bin/python family_heads.py [family …]          (the environment of make.py)

A head stands on the encoder and the tokenizer of `families/`, which is made first. Its file holds, for each head, what
`config.json` says differently (`config`), how the tensors that the encoder does not have are drawn (`tensors`, as families.py
draws; `values` where they are not drawn), and inputs and answers in the form of heads.py's. Tensors are in the file beside it,
under `{head}.{name}`. References are computed in f64 and rounded to f32.
"""

import json
import math
import re
import sys

import numpy
import torch
import transformers
from safetensors.torch import save_file

from families import HERE as FAMILIES, values
from heads import BIO, answer_cases, balance, choice_logits, encode, fill_cases, line_scores, looked_at, mask_logits, run, tag_cases
from make import HERE, pipeline_scores

FOLDER = HERE / "family-heads"

# Everything fits into 24 tokens of every tokenizer.
TEXTS = ["", "The film is good.", "Café, don't stop!", "zebra 我爱北京"]
PAIRS = [("where is the cat?", "The cat sat."), ("", "one two"), ("the river bank", "not good")]
TAGS = ["The cat sat on the mat, not the dog.", "Café déjà! don't stop", "zebra 爱 the river bank", "", "the"]
QUESTIONS = [["where is the cat?", "The cat sat on the mat."], ["who is good", "Café! the river bank"], ["who?", "zebra 爱 bank"]]
# {} is the mask, (pad) the padding, which the pipeline leaves out of what it shows.
MASKED = ["the {} sat on the mat.", "The film is {}, and {} stop!", "{}able (pad) 我爱{}"]
TARGETS = ["cat", "film"]
LINES = ["the cat sat.", "Café films"]
CHOICES = [
    {"context": "the dog sat", "candidates": ["it is good", "the river bank", "who?"]},
    {"context": "where is the film?", "candidates": ["one", "in the city", "not bad", "the"]},
]
LOOKS = ["The cat sat on the mat.", "don't stop"]


def deviation(name, shape):
    """Standard deviation of a head's parameter: sizes at which mistakes show. What stands on raw hidden states, which are small,
    is large."""
    weight = name.endswith("weight")
    root = math.sqrt(shape[-1])
    if any(part in name for part in ("pooler", "pre_classifier", "summary", "classifier.dense")):
        return 1.0 / (0.15 * root) if weight else 0.2
    if "classifier" in name or "qa_outputs" in name:
        return 8.0 / (0.2 * root) if weight else 0.5
    if any(part in name for part in ("decoder", "projector", "_lm_head", "lm_head.bias", "predictions.bias")):
        return 0.3
    if any(part in name for part in ("lm_head.dense", "predictions.dense", "vocab_transform")):
        return 1.6 / (0.15 * root) if weight else 0.2
    raise ValueError(f"no rule for parameter {name}")


def recipe(name, shape, seed):
    if any(part in name.lower() for part in ("layernorm", "layer_norm")):
        # Behind a LayerNorm stands the decoder, whose rows are short: the weights are large.
        base, exponent, outlier = (300, 6, shape[0] // 3) if name.endswith("weight") else (0, 12, None)
    else:
        base, exponent, outlier = 0, round(math.log2(147.2 / deviation(name, shape))), None
    return {"name": name, "shape": list(shape), "seed": seed, "base": base, "exponent": exponent, "outlier": outlier}


def drawn(r):
    value = values(math.prod(r["shape"]), r["seed"], r["base"], r["exponent"], r["outlier"]).reshape(r["shape"])
    assert (value.astype(numpy.float16) == value).all(), r["name"]
    return torch.from_numpy(value)


class Family:
    def __init__(self, name):
        self.name, self.folder = name, FAMILIES / name
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        config = transformers.AutoConfig.from_pretrained(self.folder)
        if getattr(config, "type_vocab_size", 1) > 1:
            # transformers 5 forgets ALBERT's segments, which version 4 passed on and the model was trained with.
            self.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        self.encoder = json.loads((self.folder / "weights.json").read_text(encoding="utf-8"))
        self.seed = 1000 * (100 + sum(r["seed"] for r in self.encoder) % 89)
        self.meta, self.tensors = {}, {}

    def model(self, head, kind, labels=None, again=0, **changes):
        """The encoder with a head; its entry is begun. `again` is for other values of the head."""
        if labels:
            changes |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
        config = transformers.AutoConfig.from_pretrained(self.folder)
        for key, value in {"problem_type": None, **changes}.items():
            setattr(config, key, value)
        config._attn_implementation = "eager"
        model = getattr(transformers, kind)(config).double()
        prefix = model.base_model_prefix + "."
        bare = not any(r["name"].startswith(prefix) for r in self.encoder)
        encoder = {r["name"].removeprefix(prefix): r for r in self.encoder if bare or r["name"].startswith(prefix)}
        parameters = dict(model.named_parameters())
        recipes = []
        seed = self.seed + 50 * [function.__name__ for function in HEADS.values()].index(head) + 100_000 * again
        with torch.no_grad():
            for index, (name, tensor) in enumerate(sorted(parameters.items())):
                # Where the head comes first, the decoder's name hides that of the embeddings, which it is tied to.
                tied = tensor is model.get_input_embeddings().weight
                found = encoder.get("embeddings.word_embeddings.weight" if tied else name.removeprefix(prefix))
                if found is None:
                    found = recipe(name, tensor.shape, seed + index)
                    recipes.append(found)
                tensor.copy_(drawn(found))
        self.meta[head] = {"config": {"architectures": [kind], "problem_type": None, **changes}, "tensors": recipes, "values": {}}
        return model.eval()

    def temper(self, head, model, part, logits):
        """Doubles or halves the head's tensor of this name until the logits spread as trained ones do."""
        [found] = [r for r in self.meta[head]["tensors"] if re.search(part + r"\.weight$", r["name"])]
        while not 1.5 < (spread := float(logits().std())) < 4:
            found["exponent"] += 1 if spread > 4 else -1
            with torch.no_grad():
                dict(model.named_parameters())[found["name"]].copy_(drawn(found))

    def add(self, head, meta, tensors):
        self.meta[head] |= meta
        self.tensors |= {f"{head}.{name}": tensor.float().contiguous() for name, tensor in tensors.items()}

    def save(self):
        FOLDER.mkdir(exist_ok=True)
        save_file(self.tensors, FOLDER / f"{self.name}.safetensors")
        parts = []
        for head, entry in self.meta.items():
            fields = (f'{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}' for key, value in entry.items())
            parts.append(f"{json.dumps(head)}: {{\n" + ",\n".join(fields) + "}")
        (FOLDER / f"{self.name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def sequence(family, kind):
    """The same logits as a choice of one label, as a choice of any, and as values."""
    encodings = []
    for texts in [(t,) for t in TEXTS] + PAIRS:
        encodings.append({"texts": list(texts), **encode(family.tokenizer, *texts)})
    scores = {}
    for problem in ("single_label_classification", "multi_label_classification", "regression"):
        model = family.model("sequence", kind, labels=["good", "bad", "neither"], problem_type=problem)
        logits = lambda: torch.stack([run(model, e).logits[0] for e in encodings])
        family.temper("sequence", model, "^classifier(.out_proj)?", logits)
        scores[problem] = pipeline_scores(model, family.tokenizer, encodings, 24)
    logits = logits()
    assert torch.equal(scores["regression"].float(), logits.float())
    inputs = [{k: e[k] for k in ("texts", "input_ids")} for e in encodings]
    family.add("sequence", {"inputs": inputs}, {"logits": logits, **scores})


def tag(family, kind):
    for again in range(100):
        model = family.model("tag", kind, labels=BIO, again=again)
        rows = lambda: torch.cat([run(model, encode(family.tokenizer, t)).logits[0][1:-1] for t in TAGS])
        family.temper("tag", model, "^classifier", rows)
        family.meta["tag"]["values"] = balance(model, family.tokenizer, TAGS, ends=1)
        counts = torch.bincount(rows().argmax(-1), minlength=5)
        # Labels of several kinds, none of which is nearly all.
        if (counts > 1).sum() >= 4 and counts.max() <= 0.6 * counts.sum():
            break
    else:
        raise ValueError(f"{family.name}: all tokens are alike")
    family.add("tag", *tag_cases(model, family.tokenizer, TAGS))


def answer(family, kind):
    model = family.model("answer", kind, labels=["LABEL_0", "LABEL_1"])
    family.temper("answer", model, "qa_outputs", lambda: answer_cases(model, family.tokenizer, QUESTIONS)[1]["logits"])
    family.add("answer", *answer_cases(model, family.tokenizer, QUESTIONS))


def fill(family, kind):
    model, tokenizer = family.model("fill", kind), family.tokenizer
    texts = [text.replace("{}", tokenizer.mask_token).replace("(pad)", tokenizer.pad_token) for text in MASKED]
    family.temper("fill", model, "(LayerNorm|layer_norm)", lambda: mask_logits(model, tokenizer, texts))
    targets = [t if t in tokenizer.get_vocab() else "▁" + t if "▁" + t in tokenizer.get_vocab() else "Ġ" + t for t in TARGETS]
    targets = [t for t in targets if t in tokenizer.get_vocab()] or ["a", "t"]
    meta = {"texts": texts, **fill_cases(model, tokenizer, texts, targets)}
    meta["scores"] = line_scores(model, tokenizer, LINES)
    family.add("fill", meta, {"logits": mask_logits(model, tokenizer, texts)})


def choice(family, kind):
    model = family.model("choice", kind)
    family.temper("choice", model, "^classifier", lambda: choice_logits(model, family.tokenizer, CHOICES))
    family.add("choice", {"cases": CHOICES}, {"logits": choice_logits(model, family.tokenizer, CHOICES)})
    if family.name == "albert":
        # What version 5 gives by itself.
        family.tokenizer.model_input_names = ["input_ids", "attention_mask"]
        family.add("choice", {}, {"without_segments": choice_logits(model, family.tokenizer, CHOICES)})
        family.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]


def features(family, kind):
    model = family.model("features", kind)
    looks = [looked_at(model, encode(family.tokenizer, text)) for text in LOOKS]
    tensors = {f"hidden.{i}": torch.cat(stage) for i, stage in enumerate(zip(*(states for states, _ in looks)))}
    family.add("features", {"texts": LOOKS}, {**tensors, "attention": torch.cat([weights for _, weights in looks])})


PREFIXES = {
    "distilbert": "DistilBert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert", "electra": "Electra",
    "electra-generator": "Electra", "albert": "Albert", "mpnet": "MPNet",
}
HEADS = {
    "ForSequenceClassification": sequence,
    "ForTokenClassification": tag,
    "ForQuestionAnswering": answer,
    "ForMaskedLM": fill,
    "ForMultipleChoice": choice,
    "Model": features,
}


def main():
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    for name, prefix in PREFIXES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        family = Family(name)
        for kind, head in HEADS.items():
            head(family, prefix + kind)
        longest = max(len(encode(family.tokenizer, *t, length=100)["input_ids"])
                      for t in [(x,) for x in TEXTS + TAGS + LOOKS] + PAIRS + QUESTIONS)
        assert longest <= 24, longest
        family.save()
        tags = [e["entity"] for case in family.meta["tag"]["entities"]["none"] for e in case]
        print(name, "longest", longest, {t: tags.count(t) for t in tags}, flush=True)
        for n, t in family.tensors.items():
            if "logits" in n:
                print("   ", n, tuple(t.shape), "spread", float(t.std()), "largest", float(t.abs().max()), flush=True)


if __name__ == "__main__":
    main()

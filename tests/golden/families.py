"""Makes `families/`: a tiny random checkpoint of each of BERT's relatives, and what transformers computes with it.

    venv/bin/python families.py          (the environment of make.py)

Weights are not stored: `weights.json` beside each config names every tensor with the numbers that make it, and the tests make
the same values from them (`values` below). They are drawn by the same thoughts as make.py's: activations beyond their
linear parts, uneven LayerNorms, everything exact in half precision. The reference is computed in f64 and rounded to f32.
"""

import json
import math
import shutil
import struct
import sys
from pathlib import Path

import numpy
import tokenizers
import torch
import transformers
from transformers import AddedToken

from make import forward, largest_error, pipeline_scores, save_golden, vocabulary, write_json

HERE = Path(__file__).resolve().parent / "families"

TEXTS = [
    "",
    "The film is good.",
    "  two spaces,\ttab\nline ",
    "zebra plays unhelloable xyz!",
    "Café déjà vu, naïve Straße e\u0301tude",
    "我爱北京 movie 日本。 ＡＢ１ ﬁne ①\u3000wide",
    "don't stop -- 3.14, $12! we'll I've",
    "the cat sat on the mat and the dog sat on the river bank in the city of the question and the answer was not very good",
    "a <mask> here, <pad> there </s> [MASK] [SEP] [PAD] \u00a0nbsp soft\u00adhyphen 😀👍🏽 Мир 한",
]
PAIRS = [
    ("where is the cat?", "The cat sat on the mat."),
    ("", "one two"),
    ("the river bank in the city of the cat and the dog", "who is the dog and where was the answer to the very good question of the city"),
]

# --- weights

MIX = [numpy.uint64(v) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]


def values(count, seed, base, exponent, outlier):
    """(2·byte − 255 + base) / 2^exponent for a byte of each index's hash (splitmix64); one value four times as large."""
    with numpy.errstate(over="ignore"):
        z = (numpy.arange(count, dtype=numpy.uint64) + (numpy.uint64(seed) << numpy.uint64(32))) * MIX[0]
        z = (z ^ (z >> numpy.uint64(30))) * MIX[1]
        z = (z ^ (z >> numpy.uint64(27))) * MIX[2]
        z = z ^ (z >> numpy.uint64(31))
    steps = 2.0 * (z >> numpy.uint64(56)).astype(numpy.float64) - 255 + base
    if outlier is not None:
        steps[outlier] *= 4
    return steps * 2.0**-exponent


def is_any(name, *parts):
    return any(part in name for part in parts)


def deviation(name, inputs):
    """Standard deviation of a parameter, by its part in the model."""
    weight = name.endswith("weight")
    root = math.sqrt(inputs)
    if is_any(name, "word_embeddings"):
        return 0.05
    if is_any(name, "relative_attention_bias"):
        return 1.0
    if is_any(name, "embeddings_project", "embedding_hidden_mapping_in"):
        return 0.5 / root if weight else 0.03
    if is_any(name, "out_proj") or name.startswith("classifier.weight") or name.startswith("classifier.bias"):
        return 4.0 / root if weight else 0.5
    if is_any(name, "pooler", "pre_classifier", "classifier.dense", "lm_head", "generator", "predictions"):
        return 1.0 / (0.15 * root) if weight else 0.2
    if is_any(name, ".query.", ".key.", ".q_lin.", ".k_lin.", ".attn.q.", ".attn.k."):
        return 0.8 / (0.15 * root) if weight else 0.2
    if is_any(name, "intermediate.", ".lin1.", ".ffn."):
        return 1.6 / (0.15 * root) if weight else 0.2
    if is_any(name, ".value.", ".v_lin.", ".attn.v."):
        return 0.3 / (0.15 * root) if weight else 0.05
    if is_any(name, "attention.output.dense", ".out_lin.", ".attn.o.", "attention.dense"):
        return 1.0 / root if weight else 0.03
    if is_any(name, ".output.dense", ".lin2.", ".ffn_output."):
        return 0.12 / root if weight else 0.03
    raise ValueError(f"no rule for parameter {name}")


def recipe(name, shape):
    """base, exponent and outlier of a parameter."""
    if is_any(name, "position_embeddings", "token_type_embeddings"):
        # A sum of two is exact in half precision.
        return 0, 12, None
    if is_any(name.lower(), "layernorm", "layer_norm"):
        return (300, 11, shape[0] // 3) if name.endswith("weight") else (0, 12, None)
    return 0, round(math.log2(147.2 / deviation(name, shape[-1]))), None


def randomize(model, seed):
    """Draws every parameter anew; returns the recipes."""
    recipes = []
    with torch.no_grad():
        for index, (name, tensor) in enumerate(model.named_parameters()):
            shape = list(tensor.shape)
            base, exponent, outlier = recipe(name, shape)
            drawn = values(tensor.numel(), seed * 1000 + index, base, exponent, outlier).reshape(shape)
            assert (drawn.astype(numpy.float16) == drawn).all(), name
            tensor.copy_(torch.from_numpy(drawn))
            recipes.append({"name": name, "shape": shape, "seed": seed * 1000 + index, "base": base, "exponent": exponent, "outlier": outlier})
    model.eval()
    return recipes


# --- tokenizers


def byte_level():
    """RoBERTa's: bytes, and merges learned from the texts."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=360, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    learner.train_from_iterator(TEXTS + [t for pair in PAIRS for t in pair], trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    return transformers.RobertaTokenizer(vocab=model["vocab"], merges=merges, mask_token=mask)


def charsmap(replacements):
    """SentencePiece's compiled normalizer: a double array over UTF-8 whose values are places in a text of replacements."""
    blob, trie = b"", {}
    for source, target in sorted(replacements.items()):
        node = trie
        for byte in source.encode():
            node = node.setdefault(byte, {})
        node[None] = len(blob)
        blob += target.encode() + b"\0"
    units, used = [0] * 256, {0}

    def place(node, position):
        labels = [label or 0 for label in node]
        base = next(b for b in range(1, 1 << 20) if all((b ^ label) not in used for label in labels))
        units.extend([0] * max(0, (base | 255) + 1 - len(units)))
        used.update(base ^ label for label in labels)
        units[position] |= (position ^ base) << 10 | (None in node) << 8
        if None in node:
            units[base] = 1 << 31 | node[None]
        for label, child in node.items():
            if label is not None:
                units[base ^ label] = label
                place(child, base ^ label)

    place(trie, 0)
    data = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(data)) + data + blob


REPLACEMENTS = {
    "\t": " ", "\n": " ", "\u00a0": " ", "\u3000": " ", "\u00ad": "", "ﬁ": "fi", "①": "1", "１": "1", "Ａ": "A", "Ｂ": "B",
    "e\u0301": "é", "…": "...",
}


def pieces(extra=()):
    """Unigram's pieces with scores: whole words are likelier than their parts."""
    words = "the film is good cat sat on mat and dog river bank in city of question answer was not very two movie don stop we one who where".split()
    parts = "ing ed er un hello able play s ' t ll ve . , ! ? - $ 3 1 4 2 é à ï ß ü 我 爱 北京 日本 。 Мир М и р".split()
    letters = list("abcdefghijklmnoprstuvwyzTIACB")
    scored = [("▁" + w, -2.0 - 0.0713 * i) for i, w in enumerate(words)]
    scored += [("▁", -3.1415)]
    scored += [(p, -5.0 - 0.0371 * i) for i, p in enumerate(dict.fromkeys(list(extra) + parts))]
    known = {p for p, _ in scored}
    scored += [(c, -9.0 - 0.0117 * i) for i, c in enumerate(letters) if c not in known]
    return [(p, round(s, 4)) for p, s in scored]


def xlm_roberta():
    special = [(t, 0.0) for t in ("<s>", "<pad>", "</s>", "<unk>")]
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    return transformers.XLMRobertaTokenizer(
        vocab=special + pieces() + [("<mask>", 0.0)], _spm_precompiled_charsmap=charsmap(REPLACEMENTS), mask_token=mask)


def camembert():
    special = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0), ("<s>", 0.0), ("</s>", 0.0)]
    return transformers.CamembertTokenizer(vocab=special + pieces() + [("<mask>", 0.0)])


def albert():
    special = [("<pad>", 0.0), ("<unk>", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[MASK]", 0.0)]
    return transformers.AlbertTokenizer(vocab=special + pieces(extra=['"']), do_lower_case=True, keep_accents=False)


def wordpiece(kind, cased=False):
    words = vocabulary(cased)
    return kind(vocab={w: i for i, w in enumerate(words)}, do_lower_case=not cased)


def mpnet():
    words = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"] + [w for w in vocabulary(False) if w[0] != "[" or len(w) == 1]
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    return transformers.MPNetTokenizer(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True, mask_token=mask)


# --- reference


def encode(tokenizer, max_length, segments, every):
    encodings = []
    for texts in [(t,) for t in TEXTS[::every]] + PAIRS:
        e = tokenizer(*texts, truncation="longest_first", max_length=max_length, return_offsets_mapping=True, return_token_type_ids=True)
        encodings.append({
            "texts": list(texts),
            "input_ids": e["input_ids"],
            "token_type_ids": e["token_type_ids"] if segments > 1 else [0] * len(e["input_ids"]),
            "offsets": [list(o) for o in e["offset_mapping"]],
            "sequences": e.sequence_ids(0),
        })
    return encodings


class WithoutSegments(torch.nn.Module):
    """Takes segment ids and drops them, for models that have none."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, token_type_ids, **inputs):
        return self.model(**inputs)


def make(name, model_class, tokenizer, seed, max_length, every=1, **config):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        if path.name not in ("tokenizer.json", "tokenizer_config.json"):
            path.unlink()
    ids = {k: getattr(tokenizer, k) for k in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = model_class.config_class(vocab_size=len(tokenizer), **ids, **config)
    config._attn_implementation = "eager"
    model = model_class(config).double()
    recipes = randomize(model, seed)
    config.architectures = [model_class.__name__]
    value = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if not k.startswith("_")}
    write_json(folder / "config.json", value)
    lines = ",\n".join(json.dumps(r) for r in recipes)
    (folder / "weights.json").write_text("[\n" + lines + "\n]\n", encoding="utf-8")

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    segments = getattr(config, "type_vocab_size", 1)
    encodings = encode(tokenizer, max_length, segments, every)
    # Of a language model the encoder is what counts here.
    encoder = model.base_model if "MaskedLM" in model_class.__name__ else model
    runner = encoder if hasattr(config, "type_vocab_size") else WithoutSegments(encoder)
    exact = forward(runner, encodings)
    single = forward(runner.float(), encodings)
    runner.double()
    # transformers 5 forgets ALBERT's segments, which version 4 passed on and the model was trained with.
    if segments > 1:
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    if "logits" in exact:
        exact["scores"] = pipeline_scores(model, tokenizer, encodings, max_length)
    meta = {"max_length": max_length, "float32_error": largest_error(exact, single), "inputs": encodings}
    save_golden(folder, meta, exact)
    print(name, meta["float32_error"])


def five_labels():
    return {"num_labels": 5, "problem_type": "multi_label_classification"}


def main():
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    wanted = sys.argv[1:]
    t = transformers
    small = dict(num_hidden_layers=2, hidden_act="gelu")
    cases = {
        "roberta": lambda n: make(n, t.RobertaForSequenceClassification, byte_level(), 11, 24, hidden_size=36, num_attention_heads=3, intermediate_size=54,
                                  max_position_embeddings=26, type_vocab_size=1, layer_norm_eps=1e-5, num_labels=3, **small),
        "distilbert": lambda n: make(n, t.DistilBertForSequenceClassification, wordpiece(t.DistilBertTokenizer), 12, 24, every=2, dim=312, n_heads=12,
                                     hidden_dim=1200, n_layers=1, max_position_embeddings=24, **five_labels()),
        "xlm-roberta": lambda n: make(n, t.XLMRobertaForSequenceClassification, xlm_roberta(), 13, 24, hidden_size=32, num_attention_heads=2,
                                      intermediate_size=70, max_position_embeddings=26, type_vocab_size=1, layer_norm_eps=1e-5, num_labels=2, **small),
        "camembert": lambda n: make(n, t.CamembertModel, camembert(), 14, 24, hidden_size=24, num_attention_heads=4, intermediate_size=40,
                                    max_position_embeddings=26, type_vocab_size=1, layer_norm_eps=1e-5, **small),
        "electra": lambda n: make(n, t.ElectraForSequenceClassification, wordpiece(t.ElectraTokenizer), 15, 24, embedding_size=20, hidden_size=48,
                                  num_attention_heads=3, intermediate_size=66, max_position_embeddings=24, num_labels=2, **small),
        "electra-generator": lambda n: make(n, t.ElectraForMaskedLM, wordpiece(t.ElectraTokenizer), 16, 24, every=2, embedding_size=52, hidden_size=36,
                                            num_attention_heads=2, intermediate_size=40, max_position_embeddings=24, **small),
        "albert": lambda n: make(n, t.AlbertForSequenceClassification, albert(), 17, 24, embedding_size=20, hidden_size=40, num_attention_heads=4,
                                 intermediate_size=72, max_position_embeddings=24, num_hidden_layers=4, num_hidden_groups=2, num_labels=3),
        "mpnet": lambda n: make(n, t.MPNetForSequenceClassification, mpnet(), 18, 44, every=2, hidden_size=256, num_attention_heads=2,
                                intermediate_size=90, max_position_embeddings=46, num_labels=1, problem_type="regression", num_hidden_layers=1,
                                hidden_act="gelu"),
    }
    for name, case in cases.items():
        if not wanted or name in wanted:
            case(name)


if __name__ == "__main__":
    main()

"""Makes the tiny checkpoints of this folder and what transformers computes with them.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py

The versions are pinned in requirements.txt; the same versions give the same files. README.md says what each file holds.

Each checkpoint is random, but not with the library's initial values: those are so small that every activation works
in its linear part and every LayerNorm far from its epsilon, so that a wrong GELU or epsilon would go unseen. Here
- pre-activations and attention scores reach a few units,
- what goes into a LayerNorm has a standard deviation near 0.1, so that 1e-5 beside the variance shows,
- LayerNorm weights differ by channel, with one large outlier channel, as in trained models.
All weights are exact in half precision (sums of a position and a token type vector too): an f16 model file loses nothing,
and the only difference that is left to measure is arithmetic. The reference is computed in f64 and rounded to f32.
"""

import json
import math
import shutil
from pathlib import Path

import numpy
import sentence_transformers
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent

SPECIAL = ["[MASK]", "[SEP]", "[PAD]", "[unused0]", "[UNK]", "[CLS]"]
"""Neither [PAD] = 0 nor [CLS] = 101: nothing may be taken for granted."""

LETTERS = "abcdefghiklmnoprstuvwy"  # no j, q, x, z: words with them are unknown
WORDS = (
    "the film movie is was are good bad not very of and to in it stop don one two play plays run river bank sat on mat cat "
    "dog street question answer where who capital city great terrible un able hel query passage"
).split()
PIECES = "s ing ed ly er able lo ness 1 2 4 ll".split()
PUNCTUATION = list(".,!?-'$():;/") + ["…", "“", "”", "。"]
UNCASED = ["cafe", "deja", "vu", "naive", "ø", "ß", "##ß", "мир", "##ами", "να", "##ς", "##σ", "ᄒ", "##ᅡ", "##ᆫ"]
CASED = ["Café", "cafe", "déjà", "vu", "é", "##é", "T", "##T", "The", "Film", "Ø", "ß", "NASA", "N", "##A", "##S", "мир", "М", "##ир", "한"]
CJK = list("我爱北京日本")

TEXTS = [
    "",
    "The film is good.",
    "zebra plays unhelloable xyz",
    "Café déjà vu, naïve Straße",
    "我爱北京 movie 日本。",
    "don't stop -- 3.14, $12!",
    "the cat sat on the mat and the dog sat on the river bank in the city of the question and the answer was not very good",
    "[SEP] NASA [MASK]ed \u00a0cafe\u0301\t한 Мир 😀 ΝΑΣ",
]
PAIRS = [
    ("where is the cat?", "The cat sat on the mat."),
    ("", "one two"),
    ("was it good", ""),
    ("the river bank in the city of the cat and the dog", "who is the dog and where was the answer to the very good question of the city"),
]


def vocabulary(cased):
    letters = [c for c in LETTERS] + ["##" + c for c in LETTERS]
    digits = [c for c in "0123456789"] + ["##" + c for c in "35"]
    words = SPECIAL + PUNCTUATION + letters + digits + WORDS + ["##" + p for p in PIECES] + (CASED if cased else UNCASED) + CJK
    return list(dict.fromkeys(words))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def tokenizer_files(folder, cased, config, keep):
    """Writes the tokenizer's files; `keep` names those that stay."""
    words = vocabulary(cased)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": not cased, "tokenizer_class": "BertTokenizer", **config})
    if "tokenizer.json" in keep:
        tokenizer = transformers.BertTokenizer.from_pretrained(folder)
        value = json.loads(tokenizer.backend_tokenizer.to_str())
        write_json(folder / "tokenizer.json", value)
    if "vocab.txt" not in keep:
        (folder / "vocab.txt").unlink()


def model_config(cased, **changes):
    words = vocabulary(cased)
    return transformers.BertConfig(
        vocab_size=len(words),
        pad_token_id=words.index("[PAD]"),
        max_position_embeddings=24,
        **changes,
    )


def randomize(model, seed, grid=None):
    """Draws every parameter anew, then rounds it to half precision (`grid`: to another dtype first)."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config

    def normal(shape, deviation):
        return torch.randn(shape, generator=generator, dtype=torch.float64) * deviation

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            shape, inputs = tensor.shape, tensor.shape[-1]
            if name.endswith("word_embeddings.weight"):
                value = normal(shape, 0.05)
            elif name.endswith("position_embeddings.weight") or name.endswith("token_type_embeddings.weight"):
                # Multiples of 2^-13 below 0.12: a sum of two is exact in half precision.
                value = (normal(shape, 0.03).clamp(-0.12, 0.12) * 2**13).round() / 2**13
            elif "LayerNorm.weight" in name:
                value = 0.12 * normal(shape, 0.4).exp()
                value[shape[0] // 3] *= 4
            elif "LayerNorm.bias" in name:
                value = normal(shape, 0.03)
            elif ".query." in name or ".key." in name or ".intermediate." in name:
                value = normal(shape, 1.6 / (0.15 * math.sqrt(inputs)) if name.endswith("weight") else 0.2)
            elif ".value." in name:
                value = normal(shape, 0.3 / (0.15 * math.sqrt(inputs)) if name.endswith("weight") else 0.05)
            elif name.endswith("attention.output.dense.weight"):
                value = normal(shape, 1.0 / math.sqrt(inputs))
            elif name.endswith("output.dense.weight"):
                value = normal(shape, 0.12 / math.sqrt(inputs))
            elif "pooler" in name:
                value = normal(shape, 1.0 / (0.15 * math.sqrt(inputs)) if name.endswith("weight") else 0.2)
            elif "classifier" in name:
                value = normal(shape, 4.0 / math.sqrt(inputs) if name.endswith("weight") else 0.5)
            elif name.endswith("output.dense.bias"):
                value = normal(shape, 0.03)
            else:
                raise ValueError(f"no rule for parameter {name}")
            tensor.copy_(value.to(grid or torch.float16).half())
    assert config.hidden_size % config.num_attention_heads == 0
    return model.eval()


def half_state(model):
    """The weights as stored: half precision, or f32 for LayerNorm and classifier, as mixed checkpoints have them."""
    return {
        name: (tensor.float() if "LayerNorm" in name or "classifier" in name else tensor.half()).contiguous()
        for name, tensor in model.state_dict().items()
    }


def save_config(model, folder, **changes):
    model.config.architectures = [type(model).__name__]
    value = json.loads(model.config.to_json_string(use_diff=False))
    value = {k: v for k, v in value.items() if not k.startswith("_")}
    if model.config.num_labels == 2 and model.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
        value.pop("id2label", None), value.pop("label2id", None)
    write_json(folder / "config.json", {**value, **changes})


def encode_inputs(tokenizer, max_length, every=1):
    """Every text and pair (or every second one, or third …), one at a time, without padding."""
    encodings = []
    for texts in ([(t,) for t in TEXTS] + PAIRS)[::every]:
        e = tokenizer(*texts, truncation="longest_first", max_length=max_length, return_offsets_mapping=True)
        encodings.append({
            "texts": list(texts),
            "input_ids": e["input_ids"],
            "token_type_ids": e["token_type_ids"],
            "offsets": [list(o) for o in e["offset_mapping"]],
        })
    return encodings


def forward(model, encodings):
    """Packed hidden states `[tokens, hidden_size]` by stage (0: embeddings), and logits `[inputs, labels]` of a classifier."""
    stages, logits = [], []
    with torch.no_grad():
        for e in encodings:
            out = model(
                input_ids=torch.tensor([e["input_ids"]]),
                token_type_ids=torch.tensor([e["token_type_ids"]]),
                attention_mask=torch.ones(1, len(e["input_ids"]), dtype=torch.long),
                output_hidden_states=True,
            )
            stages.append([h[0] for h in out.hidden_states])
            if hasattr(out, "logits"):
                logits.append(out.logits[0])
    tensors = {f"hidden.{i}": torch.cat(stage) for i, stage in enumerate(zip(*stages))}
    if logits:
        tensors["logits"] = torch.stack(logits)
    return tensors


def largest_error(exact, other):
    return {name: float((exact[name] - other[name].double()).abs().max()) for name in other}


def save_golden(folder, meta, tensors):
    save_file({name: t.float().contiguous() for name, t in tensors.items()}, folder / "golden.safetensors")
    # One line for each list of numbers: a reader can follow it, and a change shows in one line.
    lines = json.dumps(meta, ensure_ascii=False, separators=(", ", ": "))
    for key in ('"float32_error"', '"max_length"', '"inputs"', '"vectors"', '{"texts"', '{"tensor"'):
        lines = lines.replace(key, "\n" + key)
    (folder / "golden.json").write_text(lines + "\n", encoding="utf-8")


def pipeline_scores(model, tokenizer, encodings, max_length):
    """What transformers' pipeline shows for each input, `[inputs, labels]`, with the function that it chooses by itself."""
    classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    rows = []
    for e in encodings:
        text, pair = (*e["texts"], None)[:2]
        record = {"text": text} if pair is None else {"text": text, "text_pair": pair}
        answer = classify(record, top_k=None, truncation="longest_first", max_length=max_length)
        scores = {entry["label"]: entry["score"] for entry in answer}
        rows.append([scores[label] for _, label in sorted(model.config.id2label.items())])
    return torch.tensor(rows, dtype=torch.float64)


def golden(model, folder, max_length, every=1):
    """Reference of a checkpoint as it lies in `folder`: read again by transformers, run in f64."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    encodings = encode_inputs(tokenizer, max_length, every)
    single = forward(model, encodings)
    exact = forward(model.double(), encodings)
    if "logits" in exact:
        exact["scores"] = pipeline_scores(model, tokenizer, encodings, max_length)
    meta = {"max_length": max_length, "float32_error": largest_error(exact, single), "inputs": encodings}
    save_golden(folder, meta, exact)


def make_classifier():
    """Two labels, erf GELU, epsilon 1e-12; and the same weights in the other forms that checkpoints come in."""
    folder = fresh("classifier")
    config = model_config(False, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                          hidden_act="gelu", layer_norm_eps=1e-12, num_labels=2)
    config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    model = randomize(transformers.BertForSequenceClassification(config), 1)
    tokenizer_files(folder, False, {"model_max_length": 20}, {"tokenizer.json", "vocab.txt"})
    save_config(model, folder)
    state = half_state(model)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    golden(model, folder, 20)

    # As the first BERT checkpoints were: pickled, with gamma and beta and the buffer of position ids.
    other = fresh("classifier-pickle")
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in state.items()}
    old["bert.embeddings.position_ids"] = torch.arange(config.max_position_embeddings).unsqueeze(0)
    torch.save(old, other / "pytorch_model.bin")

    # Two shards and their index.
    other = fresh("classifier-shards")
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, part in shards.items():
        save_file({n: state[n] for n in part}, other / file, metadata={"format": "pt"})
    write_json(other / "model.safetensors.index.json", {
        "metadata": {"total_size": sum(t.numel() * t.element_size() for t in state.values())},
        "weight_map": {n: file for file, part in shards.items() for n in part},
    })
    for case in ("classifier-pickle", "classifier-shards"):
        check_same(HERE / "classifier", HERE / case, model)


def check_same(base, overlay, model):
    """transformers reads the overlay as the same weights."""
    merged = HERE / ".merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    shutil.copy(base / "config.json", merged)
    for path in overlay.iterdir():
        shutil.copy(path, merged)
    if (merged / "pytorch_model.bin").exists():
        # Renamed here, not by transformers: an independent look at the file itself.
        state = torch.load(merged / "pytorch_model.bin", weights_only=True)
        state = {n.replace("gamma", "weight").replace("beta", "bias"): t for n, t in state.items() if "position_ids" not in n}
    else:
        state = type(model).from_pretrained(merged, dtype=torch.float32).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name].float(), tensor), name
    shutil.rmtree(merged)


def make_odd_shapes():
    """Sizes off every power of two, tanh GELU, epsilon 1e-5, five labels of which several may hold."""
    folder = fresh("odd-shapes")
    config = model_config(False, hidden_size=78, num_hidden_layers=1, num_attention_heads=3, intermediate_size=54,
                          hidden_act="gelu_new", layer_norm_eps=1e-5, num_labels=5, problem_type="multi_label_classification")
    model = randomize(transformers.BertForSequenceClassification(config), 2)
    tokenizer_files(folder, False, {"model_max_length": 24}, {"tokenizer.json"})
    save_config(model, folder)
    save_file(half_state(model), folder / "model.safetensors", metadata={"format": "pt"})
    golden(model, folder, 24)


def make_wide_head():
    """One head of 128 channels, ReLU, one score (regression). No model_max_length: the position table is the limit."""
    folder = fresh("wide-head")
    config = model_config(False, hidden_size=128, num_hidden_layers=1, num_attention_heads=1, intermediate_size=24,
                          hidden_act="relu", layer_norm_eps=1e-12, num_labels=1, problem_type="regression")
    model = randomize(transformers.BertForSequenceClassification(config), 3)
    tokenizer_files(folder, False, {}, {"tokenizer.json"})
    save_config(model, folder)
    save_file(half_state(model), folder / "model.safetensors", metadata={"format": "pt"})
    golden(model, folder, config.max_position_embeddings, every=3)  # fewer inputs: this folder is the largest


def make_plain_cased():
    """A bare encoder without pooler or prefix, cased, SiLU, bfloat16 weights, five heads of 8 channels, vocab.txt only."""
    folder = fresh("plain-cased")
    config = model_config(True, hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=72,
                          hidden_act="silu", layer_norm_eps=1e-7)
    model = randomize(transformers.BertModel(config, add_pooling_layer=False), 4, grid=torch.bfloat16)
    tokenizer_files(folder, True, {"model_max_length": 18, "do_basic_tokenize": True, "never_split": None}, {"vocab.txt"})
    save_config(model, folder)
    # Weights that bfloat16 and half precision both hold; position and type vectors are finer and stay f32.
    state = {n: t.float() if "position" in n or "token_type" in n else t.bfloat16() for n, t in model.state_dict().items()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name].float(), tensor), name
    save_file({n: t.contiguous() for n, t in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})

    class Encoder(transformers.BertModel):
        def __init__(self, config):
            super().__init__(config, add_pooling_layer=False)

    golden(Encoder(config), folder, 18)


POOLING_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def old_pooling(width, *modes, **more):
    """`1_Pooling/config.json` as sentence-transformers wrote it before version 5.5: one flag for each mode."""
    return {"word_embedding_dimension": width, **{flag: mode in modes for mode, flag in POOLING_FLAGS.items()}, **more}


def modules(*parts):
    names = {"": "Transformer", "Pooling": "Pooling", "Dense": "Dense", "Normalize": "Normalize"}
    entries = []
    for index, part in enumerate(("",) + parts):
        entries.append({
            "idx": index,
            "name": str(index),
            "path": f"{index}_{part}" if part else "",
            "type": f"sentence_transformers.models.{names[part]}",
        })
    return entries


def make_sentence():
    """A sentence-transformers model, and overlays with every other way to make a vector of the same hidden states."""
    width = 24
    folder = fresh("sentence")
    config = model_config(False, hidden_size=width, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
                          hidden_act="gelu", layer_norm_eps=1e-12)
    model = randomize(transformers.BertModel(config), 5)
    # The tokenizer allows 24 tokens and sentence-transformers 16: the smaller number is the limit.
    tokenizer_files(folder, False, {"model_max_length": 24}, {"tokenizer.json"})
    save_config(model, folder)
    save_file(half_state(model), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "3.0.0", "transformers": "4.41.0", "pytorch": "2.3.0"},
        "prompts": {"query": "query: ", "passage": "passage: "},
        "default_prompt_name": None,
    })
    write_json(folder / "modules.json", modules("Pooling", "Normalize"))
    write_json(folder / "1_Pooling/config.json", old_pooling(width, "mean"))

    def overlay(name, pooling, *parts, prompts=None, dense=()):
        other = fresh("sentence-" + name)
        write_json(other / "1_Pooling/config.json", pooling)
        write_json(other / "modules.json", modules("Pooling", *parts))
        if prompts:
            write_json(other / "config_sentence_transformers.json", prompts)
        generator = torch.Generator().manual_seed(6)
        for index, (inputs, outputs, activation, bias) in enumerate(dense):
            part = other / f"{index + 2}_Dense"
            write_json(part / "config.json", {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": activation})
            state = {"linear.weight": torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs) * 3}
            if bias:
                state["linear.bias"] = torch.randn(outputs, generator=generator) * 0.3
            state = {n: t.half().float() for n, t in state.items()}
            if index == 0:
                save_file(state, part / "model.safetensors")
            else:
                torch.save(state, part / "pytorch_model.bin")

    for mode in ("cls", "max", "mean_sqrt_len_tokens", "weightedmean"):
        overlay(mode.removesuffix("_tokens").replace("_", "-"), old_pooling(width, mode))
    # As version 6 writes it: the modes by name, concatenated in this order.
    overlay("lasttoken", {"embedding_dimension": width, "pooling_mode": "lasttoken", "include_prompt": True})
    overlay("ordered", {"embedding_dimension": width, "pooling_mode": ["mean", "cls"], "include_prompt": True}, "Normalize")
    # Old flags: concatenated in sentence-transformers' own order; then dense layers and the norm.
    overlay("dense", old_pooling(width, "cls", "max", "mean_sqrt_len_tokens"), "Dense", "Dense", "Normalize", dense=[
        (3 * width, 20, "torch.nn.modules.activation.Tanh", True),
        (20, 12, "torch.nn.modules.linear.Identity", False),
    ])
    # Prompt tokens are seen by the encoder and left out of the pooling; one prompt holds unless another is asked for.
    overlay("prompt", old_pooling(width, *POOLING_FLAGS, include_prompt=False), prompts={
        "prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query",
    })

    names = sorted(p.name for p in HERE.glob("sentence-*"))
    vectors, tensors = [], {}
    for name in ["sentence"] + names:
        merged = HERE / ".merged"
        shutil.rmtree(merged, ignore_errors=True)
        shutil.copytree(folder, merged)
        if name != "sentence":
            shutil.copytree(HERE / name, merged, dirs_exist_ok=True)
        with_prompts = name in ("sentence", "sentence-prompt")
        for prompt_name in [None] + (["query", "passage"] if with_prompts else []):
            encoder = sentence_transformers.SentenceTransformer(
                str(merged), device="cpu", model_kwargs={"attn_implementation": "eager", "dtype": torch.float32})
            assert encoder.max_seq_length == 16, encoder.max_seq_length
            single = [encoder.encode(t, prompt_name=prompt_name) for t in TEXTS]
            encoder.double()
            # One text at a time: no padding.
            exact = [encoder.encode(t, prompt_name=prompt_name) for t in TEXTS]
            assert exact[0].dtype == numpy.float64
            key = name + ("" if prompt_name is None else "." + prompt_name)
            tensors[key] = torch.tensor(numpy.stack(exact))
            vectors.append({
                "tensor": key,
                "overlay": None if name == "sentence" else name,
                "prompt_name": prompt_name,
                "float32_error": float(numpy.abs(numpy.stack(exact) - numpy.stack(single)).max()),
            })
        shutil.rmtree(merged)

    golden(model, folder, 16)
    meta = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    meta["vectors"] = vectors
    save_golden(folder, meta, {**load_file(folder / "golden.safetensors"), **tensors})


def main():
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    make_classifier()
    make_odd_shapes()
    make_wide_head()
    make_plain_cased()
    make_sentence()


if __name__ == "__main__":
    main()

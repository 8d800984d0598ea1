"""Makes `pieces/`: small models of SentencePiece, and what transformers' tokenizers make of texts with them alone.

    venv/bin/python pieces.py            (the environment of make.py, and sentencepiece==0.2.3)

The models have a normalization of their own, which is small: the usual one has 240 kB.
"""

import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import transformers

HERE = Path(__file__).resolve().parent / "pieces"

CORPUS = """The film is good. The cat sat on the mat and the dog sat on the river bank in the city.
Where is the question? The answer was not very good, in 1995, 25, and 5,000 films.
don't stop: we'll see who is there -- Cafe Straße deja vu""".splitlines()
TEXTS = [
    "",
    " ",
    "\t\n\u3000",
    "The film is good.",
    "  two spaces,\ttab\nline ",
    "Café déjà vu, naïve Straße e\u0301tude",
    "ＡＢ１ ﬁne ① wide 我爱北京 日本。",
    "in 1995, 25, and 5,000 films",
    "``quoted'' don't stop -- 3.14, $12!",
    "a <mask> here,<mask> there <pad> </s><s> [CLS] x [SEP] [MASK]y <unk> <s>NOTUSED",
    "ab<usr>cd <usr> <ctl> e",
    "▁the ▁▁ film",
    "a\u00a0nbsp soft\u00adhyphen 😀👍🏽 Мир 한 \u200b",
]
PAIRS = [("where is the cat?", "The cat sat on the mat."), ("", "one two")]
# Some letters become others, as in the usual normalization.
RULES = {"Ａ": "A", "Ｂ": "B", "ﬁ": "fi", "①": "1", "\u3000": " ", "\t": " ", "\n": " ", "\u00ad": "", "é": "e\u0301"}

KINDS = {
    "xlm-roberta": ("sentencepiece.bpe.model", {}, {"control_symbols": ["<ctl>"], "user_defined_symbols": ["<usr>"]}),
    "camembert": ("sentencepiece.bpe.model", {}, {}),
    "albert": (
        "spiece.model",
        {},
        {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]},
    ),
    # Settings beside the file.
    "albert-cased": ("spiece.model", {"do_lower_case": False, "keep_accents": True}, None),
    "xlm-roberta-mask": (
        "sentencepiece.bpe.model",
        {"mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": True, "single_word": False}},
        None,
    ),
}


def train(kind, file, settings):
    with tempfile.TemporaryDirectory() as scratch:
        rules = Path(scratch) / "rules.tsv"
        points = lambda text: " ".join(f"{ord(c):X}" for c in text)
        rules.write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in RULES.items()))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS * 20), model_prefix=f"{scratch}/made", vocab_size=70, hard_vocab_limit=False,
            normalization_rule_tsv=str(rules), minloglevel=2, num_threads=1, **settings)
        shutil.copy(f"{scratch}/made.model", HERE / f"{kind}.model")


def main():
    transformers.logging.set_verbosity_error()
    HERE.mkdir(exist_ok=True)
    golden = {}
    for kind, (file, config, settings) in KINDS.items():
        if settings is not None:
            train(kind, file, settings)
        base = kind.removesuffix("-cased").removesuffix("-mask")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(HERE / f"{base}.model", f"{folder}/{file}")
            Path(folder, "config.json").write_text(json.dumps({"model_type": base}))
            Path(folder, "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        cases = []
        for texts in [[text] for text in TEXTS] + [list(pair) for pair in PAIRS]:
            encoded = tokenizer([texts[0]], [texts[1]] if texts[1:] else None, return_offsets_mapping=True)
            cases.append({"texts": texts, "ids": encoded["input_ids"][0], "offsets": encoded["offset_mapping"][0]})
        golden[kind] = {"file": file, "model": base, "tokenizer_config": config, "cases": cases}
        print(kind, len(tokenizer))
    lines = ",\n".join(f"{json.dumps(kind)}: {json.dumps(entry, ensure_ascii=False)}" for kind, entry in golden.items())
    (HERE / "golden.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Makes the golden data of the task heads: tiny BERT checkpoints and what transformers makes of them.

    venv/bin/python heads.py

Not the weights but the recipe for them is kept (`weights.json`): each tensor is drawn from a counter by integer
arithmetic, so that the tests can draw the same numbers. All are exact in half precision. References are computed in f64
and rounded to f32. See make.py for the vocabulary, and README.md for what each file holds.
"""

import json
import math

import numpy
import torch
import transformers
from safetensors.torch import save_file

from make import HERE, fresh, model_config, save_config, tokenizer_files, write_json

MASK64 = (1 << 64) - 1


def draw(seed, tensor, shape):
    """Whole numbers from -1024 to 1023: the top 11 bits of splitmix64 at consecutive counters."""
    count = math.prod(shape)
    start = (seed * 1_000_003 + tensor) << 32
    z = (numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)) + numpy.uint64(start & MASK64)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    z ^= z >> numpy.uint64(31)
    return (z >> numpy.uint64(53)).astype(numpy.int64).reshape(shape) - 1024


def exponent(deviation):
    """The power of two that brings numbers of `draw` nearest to a standard deviation (theirs is 1024 / sqrt 3)."""
    return round(math.log2(1024 / math.sqrt(3) / deviation))


def rule(name, shape):
    """Standard deviation and mean of a parameter; as in make.py, sizes at which mistakes show."""
    inputs = shape[-1]
    weight = name.endswith("weight")
    if "word_embeddings" in name:
        return 0.05, 0
    if "position_embeddings" in name or "token_type_embeddings" in name:
        return 0.03, 0
    if "LayerNorm" in name:
        scale = 4.0 if "predictions" in name else 0.078125
        return (scale / 4, scale) if weight else (0.03, 0)
    if any(part in name for part in (".query.", ".key.", ".intermediate.", "transform.dense")):
        return (1.6 / (0.15 * math.sqrt(inputs)), 0) if weight else (0.2, 0)
    if ".value." in name:
        return (0.3 / (0.15 * math.sqrt(inputs)), 0) if weight else (0.05, 0)
    if name.endswith("attention.output.dense.weight"):
        # Small beside the token's own state: tokens of one text must not all look the same.
        return 0.3 / math.sqrt(inputs), 0
    if name.endswith("output.dense.weight"):
        return 0.12 / math.sqrt(inputs), 0
    if name.endswith("output.dense.bias"):
        return 0.03, 0
    if "pooler" in name:
        return (1.0 / (0.15 * math.sqrt(inputs)), 0) if weight else (0.2, 0)
    if "seq_relationship" in name:
        return (4.0 / math.sqrt(inputs), 0) if weight else (0.5, 0)
    if "classifier" in name or "qa_outputs" in name:
        # On raw hidden states, which are small; behind a pooler as well.
        return (8.0 / (0.2 * math.sqrt(inputs)), 0) if weight else (0.5, 0)
    if "predictions.bias" in name or "decoder.bias" in name:
        return 0.3, 0
    if "decoder.weight" in name:
        return 0.3, 0
    raise ValueError(f"no rule for parameter {name}")


def fill(model, folder, seed):
    """Draws every parameter and writes the recipe."""
    recipe = []
    with torch.no_grad():
        for index, (name, tensor) in enumerate(sorted(model.named_parameters())):
            deviation, mean = rule(name, tensor.shape)
            e = exponent(deviation)
            # Of position and segment vectors a bit less, so that their sums are exact in half precision too.
            shift = int("position_embeddings" in name or "token_type_embeddings" in name)
            value = torch.from_numpy(draw(seed, index, tuple(tensor.shape)) >> shift).double() * 2.0 ** (shift - e)
            tensor.copy_(value + mean)
            assert mean or torch.equal(tensor.half().double(), tensor.double()), name
            recipe.append([name, list(tensor.shape), e, mean, shift])
    write_recipe(folder, seed, recipe, {})
    return model.eval().double()


def write_recipe(folder, seed, tensors, values):
    """Name, shape, exponent, mean and shift of each tensor; `values` holds those that are not drawn."""
    lines = ",\n".join(" " + json.dumps(row) for row in tensors)
    text = '{"seed": %d, "values": %s, "tensors": [\n%s\n]}\n' % (seed, json.dumps(values), lines)
    (folder / "weights.json").write_text(text, encoding="utf-8")


def checkpoint(name, kind, seed, labels=None, size=(32, 2, 64), cased=False, settings=None, **changes):
    """A model of class `kind`, its files, its tokenizer."""
    folder = fresh("head-" + name)
    hidden, heads, inner = size
    config = model_config(cased, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=heads, intermediate_size=inner,
                          hidden_act="gelu", layer_norm_eps=1e-12, **changes)
    config.max_position_embeddings = 40
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    config._attn_implementation = "eager"
    model = fill(kind(config), folder, seed)
    tokenizer_files(folder, cased, {"model_max_length": 32, **(settings or {})}, {"tokenizer.json"})
    save_config(model, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return folder, model, tokenizer


def run(model, encoding):
    with torch.no_grad():
        return model(**{k: torch.tensor([encoding[k]]) for k in ("input_ids", "token_type_ids", "attention_mask") if k in encoding})


def encode(tokenizer, *texts, length=32):
    return tokenizer(*texts, truncation="longest_first", max_length=length)


def save(folder, meta, tensors):
    save_file({n: t.float().contiguous() for n, t in tensors.items()}, folder / "golden.safetensors")
    write_json(folder / "golden.json", meta)


# --- sequence classification ----------------------------------------------------------------------------------------

PAIRS = [
    ["where is the cat?", "The cat sat on the mat."],
    ["was it good", "the film was very good and not bad"],
    ["the river bank in the city of the cat and the dog", "who is the dog and where was the answer to the very good question of the city"],
    ["one two", "the street"],
]
QUERY = "where is the cat?"
LINES = ["The cat sat on the mat.", "the film is good", "the dog sat on the river bank", "", "who is the cat in the street?"]
NLI_LABELS = ["contradiction", "neutral", "entailment"]
TOPICS = ["film", "river bank", "city", "cat"]


def make_regression():
    """Three values, no label names."""
    folder, model, tokenizer = checkpoint(
        "regression", transformers.BertForSequenceClassification, 11, labels=["LABEL_0", "LABEL_1", "LABEL_2"], problem_type="regression")
    logits = torch.stack([run(model, encode(tokenizer, *pair)).logits[0] for pair in PAIRS])
    classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    rows = [classify({"text": a, "text_pair": b}, top_k=None, truncation="longest_first", max_length=32) for a, b in PAIRS]
    save(folder, {"pairs": PAIRS, "pipeline": rows}, {"logits": logits})


def make_cross_encoder():
    """One score; the function that sentence-transformers applies to it by itself."""
    folder, model, tokenizer = checkpoint(
        "cross-encoder", transformers.BertForSequenceClassification, 12, labels=["LABEL_0"], size=(30, 3, 42))
    logits = torch.stack([run(model, encode(tokenizer, QUERY, line)).logits[0] for line in LINES if line])
    scores = torch.sigmoid(logits[:, 0])
    save(folder, {"query": QUERY, "lines": [line for line in LINES if line]}, {"logits": logits, "scores": scores})


def make_nli():
    """Entailment, and with it zero-shot classification by transformers' pipeline."""
    folder, model, tokenizer = checkpoint("nli", transformers.BertForSequenceClassification, 13, labels=NLI_LABELS)
    classify = transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    cases = []
    for text in ["the film is good", "the cat sat on the river bank and the dog plays in the city of the king"]:
        for multi in (False, True):
            for template in ("This example is {}.", "the answer is {}"):
                answer = classify(text, TOPICS, hypothesis_template=template, multi_label=multi)
                cases.append({"text": text, "multi_label": multi, "template": template, "answer": answer})
    save(folder, {"labels": TOPICS, "cases": cases}, {"none": torch.zeros(1)})


# --- token classification -------------------------------------------------------------------------------------------

TAG_TEXTS = [
    "The cat sat on the mat, and the dog plays.",
    "Café déjà vu! unhelloable films don't stop in the city",
    "zebra xyz 我爱北京 the river bank",
    "",
    "the",
]
BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def make_tags(name, labels, size, seed, cased=False):
    folder, model, tokenizer = checkpoint(name, transformers.BertForTokenClassification, seed, labels=labels, size=size, cased=cased)
    values = balance(model, tokenizer, TAG_TEXTS)
    recipe = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    write_recipe(folder, recipe["seed"], recipe["tensors"], values)
    save(folder, *tag_cases(model, tokenizer, TAG_TEXTS))


def balance(model, tokenizer, texts, ends=0):
    """Makes labels equally frequent, so that there is something to group: the bias, which is no secret, takes the mean away, that
    of all tokens but `ends` at each end of a text."""
    with torch.no_grad():
        rows = [run(model, encode(tokenizer, text)).logits[0] for text in texts]
        mean = torch.cat([row[ends:len(row) - ends] for row in rows]).mean(0)
        model.classifier.bias.copy_(((model.classifier.bias - mean) * 64).round() / 64)
    return {"classifier.bias": model.classifier.bias.tolist()}


def tag_cases(model, tokenizer, texts):
    """Logits of all tokens, and what the pipeline makes of them by each of its strategies."""
    logits = torch.cat([run(model, encode(tokenizer, text)).logits[0] for text in texts])
    entities = {}
    for strategy in ("none", "simple", "first", "average", "max"):
        tag = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=strategy)
        entities[strategy] = [[{k: (float(v) if k == "score" else v) for k, v in e.items()} for e in tag(text)] if text else [] for text in texts]
    inputs = [{"text": text, "input_ids": encode(tokenizer, text)["input_ids"]} for text in texts]
    return {"inputs": inputs, "entities": entities}, {"logits": logits}


# --- question answering ---------------------------------------------------------------------------------------------

QUESTIONS = [
    ["where is the cat?", "The cat sat on the mat, and the dog plays."],
    ["who is great", "Café déjà vu! unhelloable films in the city"],
    ["who?", "zebra xyz 我爱北京 the river bank"],
]


def make_answer():
    folder, model, tokenizer = checkpoint("answer", transformers.BertForQuestionAnswering, 41, size=(36, 4, 50))
    save(folder, *answer_cases(model, tokenizer, QUESTIONS))


def merged(found):
    """Answers with the same text in any case are one, with the sum of their scores."""
    best = {}
    for span in found:
        key = span["answer"].lower()
        score = best[key]["score"] if key in best else 0
        best[key] = {**best.get(key, span), "score": score + span["score"]}
    return sorted(best.values(), key=lambda x: -x["score"])


def answer_cases(model, tokenizer, questions):
    """Logits, and the spans that the question answering pipeline of transformers 4 would give: softmax over context tokens
    and [CLS], then the best products with start <= end < start + max_answer_length, whole words; of the 2 * top_k + 10 best
    those with the same text in any case add up. transformers 5 has no such pipeline."""
    tensors, cases = [], []
    for question, context in questions:
        e = tokenizer(question, context, return_offsets_mapping=True)
        out = run(model, e)
        start, end = out.start_logits[0].numpy(), out.end_logits[0].numpy()
        tensors.append(torch.stack([out.start_logits[0], out.end_logits[0]], dim=1))
        sequence = e.sequence_ids()
        allowed = numpy.array([s == 1 for s in sequence])
        kept = allowed.copy()
        kept[0] = True
        probabilities = []
        for logits in (start, end):
            masked = numpy.where(kept, logits, -numpy.inf)
            p = numpy.exp(masked - masked.max())
            probabilities.append(p / p.sum())
        ps, pe = probabilities
        null = float(ps[0] * pe[0])
        spans = {}
        for longest in (15, 2):
            found = []
            for i in numpy.nonzero(allowed)[0]:
                for j in range(i, min(i + longest, len(allowed))):
                    if allowed[j]:
                        s = e.word_to_chars(e.token_to_word(int(i)), sequence_index=1).start
                        t = e.word_to_chars(e.token_to_word(int(j)), sequence_index=1).end
                        found.append({"score": float(ps[i] * pe[j]), "start": s, "end": t, "answer": context[s:t]})
            found.sort(key=lambda x: -x["score"])
            spans[str(longest)] = merged(found[:2 * 5 + 10])[:5]
            if longest == 15:
                spans["all"] = merged(found)[:5]
        cases.append({"question": question, "context": context, "null_score": null, "spans": spans})
    return {"cases": cases}, {"logits": torch.cat(tensors)}


# --- masked language model, next sentence ---------------------------------------------------------------------------

MASKED = [
    "the [MASK] sat on the mat.",
    "The film is [MASK], and the [MASK] don't stop!",
    "[MASK]able déjà vu: 我爱[MASK]京",
]


def make_fill(name, kind, seed, size=(32, 2, 64), **changes):
    folder, model, tokenizer = checkpoint(name, kind, seed, size=size, **changes)
    meta, tensors = {"texts": MASKED}, {"logits": mask_logits(model, tokenizer, MASKED)}
    if kind is transformers.BertForMaskedLM:
        meta |= fill_cases(model, tokenizer, MASKED, ["cat", "film", "##s"])
        meta["scores"] = line_scores(model, tokenizer, ["the cat sat on the mat.", "Café films"])
    else:
        meta["pairs"] = PAIRS
        tensors["next"] = torch.stack([run(model, encode(tokenizer, *pair)).seq_relationship_logits[0] for pair in PAIRS])
    save(folder, meta, tensors)


def mask_logits(model, tokenizer, texts):
    """`[masks, vocab_size]`"""
    rows = []
    for text in texts:
        e = encode(tokenizer, text)
        out = run(model, e)
        logits = out.prediction_logits if hasattr(out, "prediction_logits") else out.logits
        rows += [logits[0, i] for i, token in enumerate(e["input_ids"]) if token == tokenizer.mask_token_id]
    return torch.stack(rows)


def fill_cases(model, tokenizer, texts, targets):
    """What the pipeline says."""
    pipeline = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)
    return {
        "answers": [pipeline(text, top_k=4) for text in texts],
        "targets": targets,
        "targeted": [pipeline(text, targets=targets) for text in texts],
    }


def line_scores(model, tokenizer, texts):
    """Pseudo-perplexity: each token masked by itself."""
    scores = []
    for text in texts:
        e = encode(tokenizer, text)
        ids = e["input_ids"]
        total = 0.0
        for i in range(1, len(ids) - 1):
            masked = list(ids)
            masked[i] = tokenizer.mask_token_id
            out = run(model, {**e, "input_ids": masked})
            total += float(torch.log_softmax(out.logits[0, i], -1)[ids[i]])
        scores.append({"text": text, "log_likelihood": total, "pseudo_perplexity": math.exp(-total / (len(ids) - 2)), "tokens": len(ids) - 2})
    return scores


def make_next():
    folder, model, tokenizer = checkpoint("next", transformers.BertForNextSentencePrediction, 61)
    logits = torch.stack([run(model, encode(tokenizer, *pair)).logits[0] for pair in PAIRS])
    save(folder, {"pairs": PAIRS}, {"logits": logits})


CHOICES = [
    {"context": "the dog plays in the street", "candidates": ["it is very good", "the river bank", "who sat on the mat?"]},
    {"context": "where is the film?", "candidates": ["one", "in the city of the great capital, where the answer is", "not bad", "the"]},
]


def make_choice():
    folder, model, tokenizer = checkpoint("choice", transformers.BertForMultipleChoice, 71)
    save(folder, {"cases": CHOICES}, {"logits": choice_logits(model, tokenizer, CHOICES)})


def choice_logits(model, tokenizer, cases):
    """One for each candidate of each case."""
    logits = []
    for case in cases:
        pairs = [encode(tokenizer, case["context"], candidate) for candidate in case["candidates"]]
        batch = tokenizer.pad({k: [p[k] for p in pairs] for k in pairs[0]}, return_tensors="pt")
        with torch.no_grad():
            logits.append(model(**{k: v.unsqueeze(0) for k, v in batch.items()}).logits[0])
    return torch.cat(logits)


def make_features():
    """Hidden states and attention weights of a bare encoder."""
    folder, model, tokenizer = checkpoint("features", transformers.BertModel, 81, size=(40, 5, 56))
    texts = TAG_TEXTS[:3]
    hidden, attention = [], []
    for text in texts:
        states, weights = looked_at(model, encode(tokenizer, text))
        hidden.append(states)
        attention.append(weights)
    tensors = {f"hidden.{i}": torch.cat(stage) for i, stage in enumerate(zip(*hidden))}
    tensors["attention"] = torch.cat(attention)
    save(folder, {"texts": texts}, tensors)


def looked_at(model, encoding):
    """Hidden states of all stages, and attention weights `[layers, heads, tokens, tokens]` as one row."""
    with torch.no_grad():
        inputs = {k: torch.tensor([encoding[k]]) for k in ("input_ids", "token_type_ids", "attention_mask") if k in encoding}
        out = model(**inputs, output_hidden_states=True, output_attentions=True)
    return [h[0] for h in out.hidden_states], torch.stack([a[0] for a in out.attentions]).flatten()


def main():
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    make_regression()
    make_cross_encoder()
    make_nli()
    make_tags("tag", BIO, (312, 12, 1200), 31)
    make_tags("tag-cased", ["B-a", "I-a", "O"], (26, 1, 40), 32, cased=True)
    make_answer()
    make_fill("fill", transformers.BertForMaskedLM, 51, settings={"clean_up_tokenization_spaces": True})
    make_fill("fill-untied", transformers.BertForMaskedLM, 52, size=(24, 3, 40), tie_word_embeddings=False)
    make_fill("pretraining", transformers.BertForPreTraining, 53)
    make_next()
    make_choice()
    make_features()


if __name__ == "__main__":
    main()

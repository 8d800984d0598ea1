//! The examples at the end of each `--help`.

pub const CLASSIFY: &str = "\
Examples:
  bertlet classify \"I would watch it again.\"
  bertlet classify --all --format jsonl \"So-so.\"           [{\"label\":…,\"score\":…},…]
  tail -f app.log | bertlet classify                       each line is answered at once
  bertlet classify -f reviews.txt -o labels.csv --progress the name chooses the format, as --format csv would
  bertlet classify -f reviews.csv --text-field review      the user's columns, then label and score
  bertlet classify -m nli.bertlet --pairs < pairs.tsv      two texts a line, with a tab between them
  bertlet classify --input-format jsonl --on-error record < in.jsonl > out.jsonl
  bertlet classify --labels \"sports,politics,music\" \"The band plays tonight.\"
  bertlet classify -m nli.bertlet --labels \"urgent,can wait\" --multi-label --format jsonl < mail.txt
  bertlet classify --labels-file labels.tsv -f texts.txt   a label a line, and example phrases behind tabs

Labels of your own (zero-shot):
  With a model of natural language inference, a label's score is how surely the text entails \"This example is LABEL.\".
  With a model of sentence vectors it is the cosine to the label's text (or to the mean of its example phrases), divided by
  --temperature, then softmax. jsonl: {\"sequence\":…,\"labels\":[…],\"scores\":[…]}, best first.";

pub const TAG: &str = "\
Examples:
  bertlet tag -m ner.bertlet \"Ada Lovelace was born in London.\"     [Ada Lovelace](PER) was born in [London](LOC).
  bertlet tag -m ner.bertlet --format jsonl < texts.txt              [{\"entity_group\":…,\"score\":…,\"word\":…,\"start\":…,\"end\":…},…]
  bertlet tag -m ner.bertlet --aggregation first -f news.jsonl       all of a word has one label

Notes:
  start and end count characters (Unicode scalar values) of the text.
  A text that is too long is read in overlapping windows (--stride tokens); each token gets its label from the window in
  which it stands furthest from an edge, so nothing is cut in two or found twice.";

pub const ANSWER: &str = "\
Examples:
  bertlet answer -m squad.bertlet \"Who was born?\" \"Ada Lovelace was born in London.\"
  bertlet answer -m squad.bertlet -q \"Who was born?\" -f articles.txt      one question, a text a line
  bertlet answer -m squad.bertlet --no-answer < pairs.tsv                  question and text a line, with a tab between
  bertlet answer -m squad.bertlet -k 3 --text-field context -f squad.jsonl fields: question and context

Notes:
  The output is answer, score, start, end; as JSON {\"score\":…,\"start\":…,\"end\":…,\"answer\":…}, a list with -k 2 or more.
  start and end count characters of the text. Without -q, give --question-field and --text-field where records have fields.";

pub const FILL: &str = "\
Examples:
  bertlet fill -m bert.bertlet \"The capital of France is [MASK].\"
  bertlet fill -m bert.bertlet -k 3 --format jsonl < masked.txt     [{\"score\":…,\"token\":…,\"token_str\":…,\"sequence\":…},…]
  bertlet fill -m bert.bertlet --targets \"good,bad\" \"The film was [MASK].\"
  bertlet fill -m bert.bertlet --score < lines.txt                  pseudo-perplexity, log-likelihood, tokens

Notes:
  Text output has word and score in turn, mask after mask. Several masks are filled independently of each other; as JSON
  each has a list of its own. --score masks each token of a line in turn: a line of n tokens takes n passes.";

pub const RERANK: &str = "\
Examples:
  bertlet rerank -m cross-encoder.bertlet \"how tall is the tower\" -f passages.txt -k 10
  bertlet rerank -m cross-encoder.bertlet \"how tall is the tower\" --format json < passages.txt   [{\"index\":…,\"score\":…,\"text\":…},…]

Notes:
  Index counts the input's records from 0. All scores are needed before the first can be shown, so all records wait in memory.
  The user's fields pass through; index, score and, where a record has no fields, text come behind them.";

pub const NEXT: &str = "\
Examples:
  bertlet next -m bert.bertlet \"The sun rose.\" \"It was warm.\"       the probability that the second follows the first
  bertlet next -m bert.bertlet < pairs.tsv                            two texts a line, with a tab between them";

pub const CHOOSE: &str = "\
Examples:
  bertlet choose -m swag.bertlet \"She opened the door\" \"and went in.\" \"and the sea is blue.\"
  bertlet choose -m swag.bertlet < tasks.tsv               a line: the context and its candidates, with tabs between them
  bertlet choose -m swag.bertlet -f tasks.jsonl            {\"text\": …, \"choices\": [\"…\", \"…\"]}

Notes:
  The output is the chosen candidate's index from 0, its probability and its text.";

pub const ATTENTION: &str = "\
Examples:
  bertlet attention \"The animal didn't cross the street because it was too tired\" --word it
  bertlet attention \"A cat sleeps.\" --layer 3 --head 2 --svg attention.svg
  bertlet attention \"A cat sleeps.\" --json";

pub const EMBED: &str = "\
Examples:
  bertlet embed \"a sentence\" \"another one\"
  bertlet embed -f texts.txt -o vectors.npy                for NumPy: the name chooses the format, as --format npy would
  bertlet embed --format json \"a sentence\"                 the shape of OpenAI's embeddings interface
  bertlet embed --input-format jsonl --text-field body < docs.jsonl > vectors.jsonl
  bertlet embed --prompt query --dimensions 256 --encoding int8 -f queries.txt -o q.npy
  bertlet embed --long window -f articles.txt              long texts: the mean over overlapping windows
  bertlet embed --layer -1,-2,-3,-4 \"a sentence\"          features: four layers' states side by side, pooled
  bertlet embed --layer 6 --per-token \"a sentence\"        … of each token

Notes:
  In jsonl a text that was cut is marked with \"truncated\": true.
  csv and tsv name their columns 0, 1, 2, …
  f32 has no header: 4 bytes a number, --dimensions or the model's hidden size numbers a record.
  With --layer or --per-token the vectors are plain hidden states: no dense layers, and normalized only on request.
  npy needs its number of rows first: in a file it is filled in at the end, in a pipe the rows wait
  in an unnamed temporary file (TMPDIR) until they are counted. f32 waits for nothing.
  With --on-error record a bad record is a row of NaN (zeros where the encoding has no NaN) in npy, f32,
  raw and base64.";

pub const SIMILARITY: &str = "\
Examples:
  bertlet similarity \"A cat sleeps.\" \"A kitten naps.\"      0.8…
  bertlet similarity < pairs.tsv                           two texts a line, with a tab between them
  bertlet similarity -f pairs.csv --text-field a --pair-field b > scored.csv";

pub const TOKENIZE: &str = "\
Examples:
  bertlet tokenize \"unaffable\"                             [CLS] una ##ffa ##ble [SEP]
  bertlet tokenize --format ids < texts.txt
  bertlet tokenize --format jsonl --pairs \"a question\" \"an answer\"

Notes:
  Texts are shown whole: the model's maximum length is not applied.
  Offsets count characters (Unicode scalar values) of the text, as Hugging Face's tokenizers do.";

pub const INFO: &str = "\
Examples:
  bertlet info                       the default model
  bertlet info model.bertlet
  bertlet info --json model.bertlet";

pub const VERIFY: &str = "\
Examples:
  bertlet verify model.bertlet
  bertlet verify models/*.bertlet && echo all good";

pub const BENCH: &str = "\
Examples:
  bertlet bench                      the default model
  bertlet bench -m model.bertlet --profile
  bertlet bench --kernels --seconds 20
  bertlet bench --json | jq .kernels[0].bulk

Notes:
  Texts are built-in English, cut to their lengths in tokens. Latency and bulk rates count from token ids to vectors; the
  profile counts from text, on one thread, and shows the fastest pass. Other programs and a CPU's changing clock show in
  the figures: look at minima, and run it again.";

pub const BUNDLE: &str = "\
Examples:
  bertlet bundle -m my.bertlet -o my-classifier
  ./my-classifier \"a text\"                                the model's task: its labels, or a vector
  ./my-classifier < texts.txt
  ./my-classifier embed \"a text\"                          any other subcommand, with the model inside

Notes:
  The bundle is this program with the model behind it, mapped from there. A bundle made by a program without a default
  model (the engine) is smaller.
  A first word that is the name of a subcommand is one; -- in front of it makes it a text.";

//! The examples at the end of each `--help`.

pub const CLASSIFY: &str = "\
Examples:
  bertlet classify \"I would watch it again.\"
  bertlet classify --all --format jsonl \"So-so.\"           [{\"label\":…,\"score\":…},…]
  tail -f app.log | bertlet classify                       each line is answered at once
  bertlet classify -f reviews.txt -o labels.txt --progress
  bertlet classify -f reviews.csv --text-field review      the user's columns, then label and score
  bertlet classify -m nli.bertlet --pairs < pairs.tsv      two texts a line, with a tab between them
  bertlet classify --input-format jsonl --on-error record < in.jsonl > out.jsonl";

pub const EMBED: &str = "\
Examples:
  bertlet embed \"a sentence\" \"another one\"
  bertlet embed -f texts.txt --format npy -o vectors.npy
  bertlet embed --format json \"a sentence\"                 the shape of OpenAI's embeddings interface
  bertlet embed --input-format jsonl --text-field body < docs.jsonl > vectors.jsonl
  bertlet embed --prompt query --dimensions 256 --encoding int8 --format npy -f queries.txt -o q.npy
  bertlet embed --long window -f articles.txt              long texts: the mean over overlapping windows

Notes:
  In jsonl a text that was cut is marked with \"truncated\": true.
  csv and tsv name their columns 0, 1, 2, …
  f32 has no header: 4 bytes a number, --dimensions or the model's hidden size numbers a record.
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

//! What the tokenizer's tests share: Hugging Face's `tokenizers` as the reference, and hard text to compare on.

use bertlet::format::header::{AddedToken, TemplatePiece, WordPieceConfig};
use bertlet::tokenizer::{Tokenizer, Tokens, VocabularyTables};
use serde_json::{Value, json};

/// A small generator (SplitMix64) with a fixed seed: the same text in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn char_in(&mut self, first: u32, last: u32) -> char {
        loop {
            let code = first + self.below((last - first + 1) as usize) as u32;
            if let Some(c) = char::from_u32(code) {
                return c;
            }
        }
    }
}

/// Blocks that the normalizer treats in a way of their own.
const BLOCKS: &[(u32, u32)] = &[
    (0x20, 0x7E),
    (0x61, 0x7A),
    (0x00, 0x1F),
    (0x7F, 0xFF),
    (0x100, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x3FF),
    (0x400, 0x52F),
    (0x590, 0x5FF),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0xE00, 0xE7F),
    (0xF00, 0xFFF),
    (0x1100, 0x11FF),
    (0x1AB0, 0x1ACE),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x20D0, 0x20F0),
    (0x2190, 0x22FF),
    (0x2E00, 0x2E7F),
    (0x3000, 0x30FF),
    (0x3400, 0x3410),
    (0x4E00, 0x4E80),
    (0xAC00, 0xD7A3),
    (0xD7A4, 0xD7FF),
    (0xE000, 0xE010),
    (0xF900, 0xFAFF),
    (0xFE00, 0xFE4F),
    (0xFF00, 0xFFFF),
    (0x10000, 0x1FFFF),
    (0x11000, 0x11FFF),
    (0x1D160, 0x1D1AD),
    (0x1F300, 0x1F6FF),
    (0x20000, 0x2FA1F),
    (0xE0000, 0xE01EF),
    (0x0, 0x10FFFF),
];

/// Pieces that have tripped tokenizers.
const SNIPPETS: &[&str] = &[
    "[SEP]",
    "[CLS]",
    "[MASK].",
    "[ SEP ]",
    "[SEP",
    "[[SEP]]",
    "[sep]",
    "[UNK]",
    "[PAD][PAD]",
    " [MASK] ",
    "x[SEP]y",
    "İstanbul",
    "ß",
    "ẞ",
    "ΟΔΟΣ",
    "ς",
    "ﬁ",
    "Å",
    "A\u{30A}",
    "e\u{301}\u{327}",
    "\u{301}",
    "\u{344}",
    "\u{F73}\u{301}",
    "\u{301}\u{F73}",
    "\u{F81}",
    "a\u{315}\u{300}\u{5AE}b",
    "각",
    "\u{1100}\u{1161}\u{11A8}",
    "中文",
    "中\u{301}文",
    "豈",
    "\u{2F800}",
    "ไทยแลนด์",
    "👩‍👩‍👧‍👦",
    "🇩🇪",
    "👍🏽",
    "\u{200D}",
    "\u{200B}",
    "\u{FEFF}",
    "\u{AD}",
    "\0",
    "\u{FFFD}",
    "\u{7F}",
    "\u{85}",
    "\u{A0}",
    "\u{2028}",
    "\u{3000}",
    "\t",
    "\r\n",
    "\u{B}",
    "\u{C}",
    "\u{1C}",
    "don't",
    "...",
    "—",
    "“quoted”",
    "¿",
    "€5",
    "$9.99",
    "a_b",
    "##ing",
    "#",
    "≠",
    "≮",
    "\u{37E}",
    "\u{1FEF}",
    "שָׁלוֹם",
    "العَرَبِيَّة",
    "हिन्दी",
    "\u{16121}",
    "\u{11938}",
    "\u{302E}",
    "\u{1D15E}",
    "\u{1D165}\u{1D16D}",
    "\u{E0001}",
    "\u{10FFFF}",
    "\u{378}",
    "Straße",
    "naïve",
    "Tôi",
    "ｆｕｌｌ",
    "added",
    "Added",
    "ADDED-one",
    "xadded",
    "wide  ",
    "  wide",
    "two words",
    "two  words",
    "Ünï",
];

const LETTERS: &[u8] = b"eeeetttaaooiinnsshhrrdlucmfwypvbgkjqxz";

/// A line of all sorts of text.
pub fn line(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(24) {
        match random.below(12) {
            0..=3 => {
                for _ in 0..=random.below(9) {
                    let letter = *random.pick(LETTERS) as char;
                    text.push(if random.below(8) == 0 {
                        letter.to_ascii_uppercase()
                    } else {
                        letter
                    });
                }
            }
            4..=6 => text.push_str(random.pick::<&str>(SNIPPETS)),
            7..=9 => {
                let &(first, last) = random.pick(BLOCKS);
                for _ in 0..=random.below(6) {
                    text.push(random.char_in(first, last));
                }
            }
            10 => text.push(random.char_in(0x20, 0x2F)),
            _ => {
                let length = 90 + random.below(25);
                let c = *random.pick(&['a', 'é', 'ж', '\u{301}', '中', '-']);
                text.extend(std::iter::repeat_n(
                    c,
                    if random.below(8) == 0 { length } else { 3 },
                ));
            }
        }
        if random.below(3) != 0 {
            text.push(' ');
        }
    }
    text
}

/// A vocabulary that spells a good part of [`line`]: characters alone and as continuations, short strings, odd tokens.
pub fn vocabulary(tokens: usize) -> Vec<(String, u32)> {
    let mut random = Random(7);
    let mut texts: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .map(String::from)
        .to_vec();
    for c in ('!'..='~')
        .chain("éßςσ中文각ไท人ж–“”…—¿".chars())
        .filter(|c| !c.is_ascii_uppercase() || tokens > 500)
    {
        texts.extend([c.to_string(), format!("##{c}")]);
    }
    for c in [
        "i\u{307}",
        "\u{301}",
        "##\u{301}",
        "##\u{307}",
        "\u{1100}",
        "##\u{1161}",
        "##\u{11A8}",
        "ab\0c",
    ] {
        texts.push(c.into());
    }
    texts.push("x".repeat(300));
    while texts.len() < tokens {
        let mut text = String::from(if random.below(2) == 0 { "##" } else { "" });
        for _ in 0..2 + random.below(4) {
            let &(first, last) = random.pick(&BLOCKS[..12]);
            text.push(if random.below(6) > 0 {
                *random.pick(LETTERS) as char
            } else {
                random.char_in(first, last)
            });
        }
        texts.push(text);
    }
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
    texts.into_iter().zip(0..).collect()
}

/// The rules to compare under.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub lowercase: bool,
    pub strip_accents: Option<bool>,
    pub clean_text: bool,
    pub handle_chinese_chars: bool,
}

pub const UNCASED: Rules = Rules {
    lowercase: true,
    strip_accents: None,
    clean_text: true,
    handle_chinese_chars: true,
};
pub const CASED: Rules = Rules {
    lowercase: false,
    strip_accents: Some(false),
    ..UNCASED
};

/// The five special tokens of BERT, looked for in the raw text.
pub fn special_tokens(tokens: &[(String, u32)]) -> Vec<AddedToken> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let id = |content: &str| {
        tokens
            .iter()
            .find(|(text, _)| text == content)
            .expect("a special token")
            .1
    };
    special
        .map(|content| added(id(content), content, false, true))
        .to_vec()
}

pub fn added(id: u32, content: &str, normalized: bool, special: bool) -> AddedToken {
    let content = content.to_string();
    AddedToken {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized,
        special,
    }
}

/// The same tokenizer twice.
pub struct Both {
    pub reference: tokenizers::Tokenizer,
    pub rules: Tokenizer,
    pub tables: VocabularyTables,
    tokens: Tokens,
    char_offsets: Vec<(usize, usize)>,
}

impl Both {
    pub fn new(tokens: &[(String, u32)], rules: Rules, added_tokens: &[AddedToken]) -> Both {
        let Rules {
            lowercase,
            strip_accents,
            clean_text,
            handle_chinese_chars,
        } = rules;
        let vocab: serde_json::Map<String, Value> = tokens
            .iter()
            .map(|(text, id)| (text.clone(), json!(id)))
            .collect();
        let id = |content: &str| vocab[content].as_u64().expect("an id");
        let piece =
            |id: &str, type_id: u32| json!({"SpecialToken": {"id": id, "type_id": type_id}});
        let sequence = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
        let special = |t: &str| json!({"id": t, "ids": [id(t)], "tokens": [t]});
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
            "normalizer": {"type": "BertNormalizer", "clean_text": clean_text, "lowercase": lowercase,
                "handle_chinese_chars": handle_chinese_chars, "strip_accents": strip_accents},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [piece("[CLS]", 0), sequence("A", 0), piece("[SEP]", 0)],
                "pair": [piece("[CLS]", 0), sequence("A", 0), piece("[SEP]", 0), sequence("B", 1), piece("[SEP]", 1)],
                "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")}},
            "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab},
        });
        Both::from_json(&json)
    }

    /// Takes a `tokenizer.json` of BERT's kind with the usual template.
    pub fn from_json(json: &Value) -> Both {
        let mut reference: tokenizers::Tokenizer = json
            .to_string()
            .parse()
            .expect("tokenizers reads its own format");
        reference.with_padding(None);
        reference.with_truncation(None).expect("no truncation");
        let model = &json["model"];
        let normalizer = &json["normalizer"];
        let tokens: Vec<(String, u32)> = model["vocab"]
            .as_object()
            .expect("a vocabulary")
            .iter()
            .map(|(text, id)| (text.clone(), id.as_u64().expect("an id") as u32))
            .collect();
        let id = |content: &str| reference.token_to_id(content).expect("a special token");
        let special = |content: &str, type_id| TemplatePiece::Special {
            id: id(content),
            type_id,
        };
        let first = TemplatePiece::First { type_id: 0 };
        let flag = |name: &str| normalizer[name].as_bool();
        let lowercase = flag("lowercase").expect("lowercase");
        let config = WordPieceConfig {
            clean_text: flag("clean_text").expect("clean_text"),
            handle_chinese_chars: flag("handle_chinese_chars").expect("handle_chinese_chars"),
            strip_accents: flag("strip_accents").unwrap_or(lowercase),
            lowercase,
            unk_token: model["unk_token"].as_str().expect("unk_token").into(),
            continuing_subword_prefix: model["continuing_subword_prefix"]
                .as_str()
                .expect("prefix")
                .into(),
            max_input_chars_per_word: model["max_input_chars_per_word"]
                .as_u64()
                .expect("a number") as usize,
            trim_offsets: json["post_processor"]["trim_offsets"]
                .as_bool()
                .unwrap_or(false),
            added_tokens: serde_json::from_value(json["added_tokens"].clone())
                .expect("added tokens"),
            single: vec![special("[CLS]", 0), first.clone(), special("[SEP]", 0)],
            pair: vec![
                special("[CLS]", 0),
                first,
                special("[SEP]", 0),
                TemplatePiece::Second { type_id: 1 },
                special("[SEP]", 1),
            ],
        };
        let tables = VocabularyTables::build(&tokens).expect("a layout");
        let rules =
            Tokenizer::new(&config, tables.view().expect("valid tables")).expect("valid rules");
        Both {
            reference,
            rules,
            tables,
            tokens: Tokens::new(),
            char_offsets: Vec::new(),
        }
    }

    /// What differs for this text, if anything does: ids, byte offsets, character offsets.
    pub fn difference(&mut self, text: &str) -> Option<String> {
        let reference = self
            .reference
            .encode(text, false)
            .expect("tokenizers encodes every text");
        self.rules
            .with(self.tables.view().expect("valid tables"))
            .tokenize(text, &mut self.tokens);
        if self.tokens.ids != reference.get_ids() {
            return Some(format!(
                "{text:?}: ids {:?}, expected {:?}",
                self.tokens.ids,
                reference.get_ids()
            ));
        }
        if self.tokens.offsets != reference.get_offsets() {
            return Some(format!(
                "{text:?}: offsets {:?}, expected {:?}",
                self.tokens.offsets,
                reference.get_offsets()
            ));
        }
        let reference = self
            .reference
            .encode_char_offsets(text, false)
            .expect("tokenizers encodes every text");
        self.tokens.char_offsets(text, &mut self.char_offsets);
        (self.char_offsets != reference.get_offsets()).then(|| {
            format!(
                "{text:?}: character offsets {:?}, expected {:?}",
                self.char_offsets,
                reference.get_offsets()
            )
        })
    }
}

//! The check at conversion: lines that tokenizers stumble over must give the same ids in both implementations.

use anyhow::{Result, ensure};

/// Token ids and segment ids of one input, special tokens included.
pub type Encoded = (Vec<u32>, Vec<u32>);

/// Lines chosen for what they exercise: cases and accents, CJK and other scripts, white space and control characters,
/// punctuation, special tokens as text, long words.
const LINES: &[&str] = &[
    "",
    " ",
    "\t\r\n",
    "Hello, world!",
    "The QUICK brown fox can't jump over 13 lazy dogs.",
    "unaffable tokenizations electroencephalographically",
    "don't won't it's l'été O'Neill",
    "$3.50 + 20% = #1 @user foo_bar a/b c\\d x^y `code` ~tilde |pipe| <tag> [x] {y} (z)",
    "https://example.org/path?query=1&other=%20#fragment",
    "Ünïcödé naïve café Ångström Łódź İstanbul ıspanak ẞ ß ﬁ ﬂ",
    "e\u{301}cole E\u{301}COLE n\u{303} o\u{308}\u{304} a\u{323}\u{302}",
    "ΑΒΓΔ Σίσυφος ΣΊΣΥΦΟΣ Ω K Å",
    "Привет, Мир! Ёлка Й",
    "שָׁלוֹם עולם مرحبا بالعالم السَّلَامُ",
    "नमस्ते दुनिया ক্ষ தமிழ்",
    "สวัสดีชาวโลก ภาษาไทย",
    "你好,世界!我喜欢機器學習。",
    "日本語のテキスト、カタカナ ﾊﾝｶｸ",
    "한국어 문장 각 \u{1100}\u{1161}\u{11a8}",
    "\u{20000}\u{2a6df}\u{2f800} 㐀 豈",
    "😀 👩‍👩‍👧‍👦 🇩🇪 ❤️ 👍🏽 1️⃣",
    "a\u{200b}b\u{200d}c\u{feff}d\u{ad}e\u{2060}f",
    "a\u{a0}b\u{2003}c\u{3000}d\u{2028}e\u{2029}f\u{85}g\u{b}h\u{c}i",
    "nul\u{0}bell\u{7}escape\u{1b}del\u{7f}c1\u{90}replacement\u{fffd}private\u{e000}unassigned\u{378}",
    "— – ‘single’ “double” … « » ¿ ¡ § ¶ † • ‰ € £ ¥ © ® ™ ° ± × ÷ ½ ² ₂ №",
    "、。「」『』【】〜・ ！？ ＡＢＣ １２３",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ ∑ √ ∞ ≈ ≠ ≤ ⊕ 𝔸𝕓𝒄 ①",
    "[CLS] first [SEP] second [MASK] [PAD] [UNK]",
    "[MASK][SEP]x[CLS]y [mask] [ MASK ] [MASK",
    "##ing ## # ###a",
    "ALLCAPS CamelCase snake_case kebab-case dotted.name",
    "x\u{301}\u{301}\u{301} \u{301}alone \u{20dd} \u{488}",
    "ǅ ǆ ŉ ǰ ΐ ﬃ ᾳ Ⓐ ⅷ",
    "1234567890 12,345.67 1e-10 0x1F 3rd ½ ٣ ४",
    "trailing space   ",
    "   leading space",
];

/// Builds inputs that are better computed than typed.
fn generated() -> Vec<String> {
    vec![
        "a".repeat(100),
        "a".repeat(101),
        "é".repeat(100),
        format!("{} end", "x".repeat(5000)),
        "word ".repeat(1000),
        "!?".repeat(300),
        "\u{301}".repeat(200),
    ]
}

/// Compares `encode` with the reference on all lines, each alone and beside its neighbour as a pair. A model without
/// segments is given 0 for every token, as transformers does.
///
/// # Errors
/// The first difference, or an error of either side.
pub(crate) fn compare(
    reference: &tokenizers::Tokenizer,
    has_segments: bool,
    mut encode: impl FnMut(&str, Option<&str>) -> Result<Encoded>,
) -> Result<()> {
    let lines: Vec<String> = LINES
        .iter()
        .map(|line| line.to_string())
        .chain(generated())
        .collect();
    let singles = lines.iter().map(|line| (line, None));
    let pairs = lines
        .iter()
        .zip(lines.iter().skip(1))
        .map(|(first, second)| (first, Some(second)));
    for (first, second) in singles.chain(pairs) {
        let expected = match second {
            None => reference.encode(first.as_str(), true),
            Some(second) => reference.encode((first.as_str(), second.as_str()), true),
        }
        .map_err(|error| anyhow::anyhow!("Hugging Face's tokenizers: {error}"))?;
        let (ids, type_ids) = encode(first, second.map(String::as_str))?;
        ensure!(
            ids == expected.get_ids()
                && (!has_segments || type_ids == expected.get_type_ids())
                && type_ids.len() == ids.len(),
            "this tokenizer is not reproduced exactly, so the model is refused. Text {:?}, pair {:?}: tokenizers \
             gives ids {:?} and segments {:?}, bertlet ids {ids:?} and segments {type_ids:?}. Please report it",
            shortened(first),
            second.map(|second| shortened(second)),
            expected.get_ids(),
            expected.get_type_ids()
        );
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

//! What the normalizer must know of a character, in two array reads.
//!
//! The properties are those that Hugging Face's `tokenizers` sees, not those of the newest Unicode: it classifies by
//! tables of 2016 and decomposes by Unicode 9, and a character that is younger must come out the same here. The ranges
//! in `unicode_tables.rs` are frozen for that reason; the test below compares them with both crates at every code point
//! and prints the right text if they differ.

use super::unicode_tables::{COMPOSED, IDEOGRAPH, NONSPACING, PUNCTUATION, REMOVED, WHITE_SPACE};

/// Set of properties of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// `clean_text` drops it: NUL, U+FFFD, control (but not tab, line feed, carriage return), format, private use.
    pub(super) const REMOVED: Class = Class(1);
    /// White space.
    pub(super) const WHITE_SPACE: Class = Class(2);
    /// `handle_chinese_chars` puts blanks around it.
    pub(super) const IDEOGRAPH: Class = Class(4);
    /// Category Mn, which `strip_accents` drops.
    pub(super) const NONSPACING: Class = Class(8);
    /// A word of its own.
    pub(super) const PUNCTUATION: Class = Class(16);
    /// Has a canonical decomposition or a combining class, so it takes part in NFD; all others are left as they are.
    pub(super) const COMPOSED: Class = Class(32);

    /// The properties of `c`.
    #[inline]
    pub(super) fn of(c: char) -> Class {
        let code = c as usize;
        Class(TABLE.rows[TABLE.row_of_block[code / BLOCK] as usize][code % BLOCK])
    }

    /// Whether any property of `other` is in the set.
    #[inline]
    pub(super) fn is(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }
}

/// Characters in a block; small enough that most blocks are uniform, large enough that the index stays small.
const BLOCK: usize = 128;
const BLOCKS: usize = 0x11_0000 / BLOCK;

const PROPERTIES: [(&[(u32, u32)], u8); 6] = [
    (REMOVED, Class::REMOVED.0),
    (WHITE_SPACE, Class::WHITE_SPACE.0),
    (IDEOGRAPH, Class::IDEOGRAPH.0),
    (NONSPACING, Class::NONSPACING.0),
    (PUNCTUATION, Class::PUNCTUATION.0),
    (COMPOSED, Class::COMPOSED.0),
];

/// What the ranges say about whole blocks.
struct Survey {
    /// Properties that every character of the block has by one range.
    common: [u8; BLOCKS],
    /// Blocks in which characters differ.
    mixed: [bool; BLOCKS],
}

const fn survey() -> Survey {
    let mut survey = Survey {
        common: [0; BLOCKS],
        mixed: [false; BLOCKS],
    };
    let mut p = 0;
    while p < PROPERTIES.len() {
        let (ranges, bit) = PROPERTIES[p];
        let mut r = 0;
        while r < ranges.len() {
            let (first, last) = (ranges[r].0 as usize, ranges[r].1 as usize);
            let mut block = first / BLOCK;
            while block <= last / BLOCK {
                if first <= block * BLOCK && last >= block * BLOCK + BLOCK - 1 {
                    survey.common[block] |= bit;
                } else {
                    survey.mixed[block] = true;
                }
                block += 1;
            }
            r += 1;
        }
        p += 1;
    }
    survey
}

const SURVEY: Survey = survey();

/// Rows of the table: one for each mixed block, one for each set that a uniform block has.
const ROWS: usize = {
    let mut rows = 0;
    let mut seen = [false; 64];
    let mut block = 0;
    while block < BLOCKS {
        let common = SURVEY.common[block] as usize;
        if SURVEY.mixed[block] {
            rows += 1;
        } else if !seen[common] {
            seen[common] = true;
            rows += 1;
        }
        block += 1;
    }
    assert!(rows <= 256, "a row number must fit a byte");
    rows
};

struct Table {
    row_of_block: [u8; BLOCKS],
    rows: [[u8; BLOCK]; ROWS],
}

static TABLE: Table = {
    let mut table = Table {
        row_of_block: [0; BLOCKS],
        rows: [[0; BLOCK]; ROWS],
    };
    let mut next = 0;
    let mut row_of_set = [usize::MAX; 64];
    let mut block = 0;
    while block < BLOCKS {
        let common = SURVEY.common[block];
        let known = row_of_set[common as usize];
        if !SURVEY.mixed[block] && known != usize::MAX {
            table.row_of_block[block] = known as u8;
        } else {
            table.row_of_block[block] = next as u8;
            table.rows[next] = [common; BLOCK];
            if !SURVEY.mixed[block] {
                row_of_set[common as usize] = next;
            }
            next += 1;
        }
        block += 1;
    }
    let mut p = 0;
    while p < PROPERTIES.len() {
        let (ranges, bit) = PROPERTIES[p];
        let mut r = 0;
        while r < ranges.len() {
            let (mut code, last) = (ranges[r].0 as usize, ranges[r].1 as usize);
            while code <= last {
                let block = code / BLOCK;
                if SURVEY.mixed[block] {
                    table.rows[table.row_of_block[block] as usize][code % BLOCK] |= bit;
                    code += 1;
                } else {
                    code = (block + 1) * BLOCK;
                }
            }
            r += 1;
        }
        p += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_categories::UnicodeCategories;
    use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

    fn composed(c: char) -> bool {
        let mut pieces = Vec::new();
        decompose_canonical(c, |piece| pieces.push(piece));
        pieces != [c] || canonical_combining_class(c) != 0
    }

    fn ideograph(c: char) -> bool {
        matches!(c as u32, 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x2_A6DF
            | 0x2_A700..=0x2_B81F | 0x2_B920..=0x2_CEAF | 0x2_F800..=0x2_FA1F)
    }

    /// The source text of a range table for all characters with the property.
    fn source(name: &str, has: impl Fn(char) -> bool) -> String {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for c in ('\0'..=char::MAX).filter(|&c| has(c)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == c as u32 => *last = c as u32,
                _ => ranges.push((c as u32, c as u32)),
            }
        }
        let mut text = format!("pub(super) const {name}: &[(u32, u32)] = &[\n");
        for line in ranges.chunks(6) {
            let line: Vec<_> = line
                .iter()
                .map(|(a, b)| format!("(0x{a:X}, 0x{b:X}),"))
                .collect();
            text += &format!("    {}\n", line.join(" "));
        }
        text + "];\n"
    }

    #[test]
    fn every_code_point_has_the_class_that_tokenizers_gives_it() {
        type Property = (&'static str, Class, fn(char) -> bool);
        let properties: [Property; 6] = [
            ("REMOVED", Class::REMOVED, |c| {
                !matches!(c, '\t' | '\n' | '\r') && (c == '\0' || c == '\u{FFFD}' || c.is_other())
            }),
            ("WHITE_SPACE", Class::WHITE_SPACE, char::is_whitespace),
            ("IDEOGRAPH", Class::IDEOGRAPH, ideograph),
            ("NONSPACING", Class::NONSPACING, |c| c.is_mark_nonspacing()),
            ("PUNCTUATION", Class::PUNCTUATION, |c| {
                c.is_ascii_punctuation() || c.is_punctuation()
            }),
            ("COMPOSED", Class::COMPOSED, composed),
        ];
        let mut wrong = Vec::new();
        let mut text = String::new();
        for (name, class, has) in properties {
            wrong.extend(
                ('\0'..=char::MAX)
                    .find(|&c| Class::of(c).is(class) != has(c))
                    .map(|c| (name, c)),
            );
            text += &source(name, has);
        }
        assert!(
            wrong.is_empty(),
            "first differing characters: {wrong:?}; the tables should read\n{text}"
        );
    }
}

//! The tokenizer against Hugging Face's `tokenizers`: ids, byte offsets and character offsets of hard text.

use crate::support::{
    Both, CASED, Random, Rules, UNCASED, added, line, special_tokens, vocabulary,
};
use bertlet::tokenizer::Tokens;

fn assert_equal(both: &mut Both, texts: impl Iterator<Item = String>, name: &str) {
    let mut compared = 0;
    for text in texts {
        if let Some(difference) = both.difference(&text) {
            panic!("{name}, line {compared}: {difference}");
        }
        compared += 1;
    }
    assert!(compared > 0, "{name}: nothing was compared");
}

fn lines(seed: u64, count: usize) -> impl Iterator<Item = String> {
    let mut random = Random(seed);
    (0..count).map(move |_| line(&mut random))
}

#[test]
fn every_combination_of_rules() {
    let tokens = vocabulary(3000);
    let specials = special_tokens(&tokens);
    let mut seed = 0;
    for lowercase in [true, false] {
        for strip_accents in [None, Some(true), Some(false)] {
            for clean_text in [true, false] {
                for handle_chinese_chars in [true, false] {
                    let rules = Rules {
                        lowercase,
                        strip_accents,
                        clean_text,
                        handle_chinese_chars,
                    };
                    let mut both = Both::new(&tokens, rules, &specials);
                    seed += 1;
                    assert_equal(&mut both, lines(seed, 1500), &format!("{rules:?}"));
                }
            }
        }
    }
}

#[test]
fn every_character_in_a_word_and_alone() {
    let tokens = vocabulary(3000);
    for rules in [UNCASED, CASED] {
        let mut both = Both::new(&tokens, rules, &special_tokens(&tokens));
        // Several characters a line keep the reference's time per call from dominating.
        let all: Vec<char> = ('\0'..'\u{30000}')
            .chain('\u{E0000}'..'\u{E0200}')
            .collect();
        let texts = all.chunks(16).flat_map(|chunk| {
            let words: Vec<String> = chunk
                .iter()
                .map(|c| format!("a{c}b {c} {c}\u{301}"))
                .collect();
            [words.join(" "), chunk.iter().collect()]
        });
        assert_equal(&mut both, texts, &format!("{rules:?}"));
    }
}

/// Canonical order moves marks that stay in front of marks that are stripped, and with them the ranges that they show.
#[test]
fn marks_in_every_order() {
    // Of classes 9, 6, 216, 224 and 226, and no accents; then accents of other classes and of two pieces; letters.
    let kept = "\u{1B44}\u{A953}\u{111C0}\u{1D165}\u{1D16D}\u{302E}";
    let stripped = "\u{301}\u{327}\u{334}\u{5B0}\u{93C}\u{344}\u{340}\u{F73}\u{345}";
    let letters = "aé\u{1F82}\u{AC01} ";
    let [kept, stripped, letters] = [kept, stripped, letters].map(|all| all.chars().collect());
    let kinds: [Vec<char>; 3] = [kept, stripped, letters];
    let mut random = Random(17);
    let mut text = |length: usize| -> String {
        let mut character = || {
            let kind = random.below(3);
            *random.pick(&kinds[kind])
        };
        (0..length).map(|_| character()).collect()
    };
    let texts: Vec<String> = (0..6000).map(|index| text(1 + index % 24)).collect();
    let tokens = vocabulary(3000);
    for rules in [UNCASED, CASED] {
        let mut both = Both::new(&tokens, rules, &special_tokens(&tokens));
        assert_equal(&mut both, texts.iter().cloned(), &format!("{rules:?}"));
    }
}

#[test]
fn added_tokens_with_every_flag() {
    let tokens = vocabulary(3000);
    let base = tokens.len() as u32;
    let contents = [
        "added",
        "ADDED-one",
        "wide",
        "two words",
        "Ünï",
        " x",
        "中文",
        "[sep]",
        "é",
    ];
    for flags in 0..32u32 {
        let is = |bit: u32| flags & 1 << bit != 0;
        let mut list = special_tokens(&tokens);
        for content in contents {
            // An added token that the vocabulary has keeps its id there; the others get the next ones.
            let id = tokens
                .iter()
                .find(|(text, _)| text == content)
                .map(|entry| entry.1);
            let fresh = base + list.iter().filter(|token| token.id >= base).count() as u32;
            let mut token = added(id.unwrap_or(fresh), content, is(0), false);
            (token.single_word, token.lstrip, token.rstrip) = (is(1), is(2), is(3));
            list.push(token);
        }
        let mut both = Both::new(&tokens, if is(4) { UNCASED } else { CASED }, &list);
        assert_equal(
            &mut both,
            lines(flags as u64 + 100, 600),
            &format!("flags {flags:05b}"),
        );
    }
}

#[test]
fn small_vocabulary() {
    let tokens = vocabulary(100);
    let mut both = Both::new(&tokens, UNCASED, &special_tokens(&tokens));
    assert_equal(&mut both, lines(3, 2000), "small vocabulary");
}

#[test]
fn very_long_lines() {
    let tokens = vocabulary(3000);
    let mut random = Random(5);
    let mut mixed = String::new();
    while mixed.len() < 1 << 20 {
        mixed += &line(&mut random);
    }
    // One full megabyte of one word and of mixed text; less of the rest, where the reference is slow.
    let megabyte = 1 << 20;
    let texts = [
        "a".repeat(megabyte),
        "é".repeat(megabyte / 16),
        "中".repeat(megabyte / 32),
        ".".repeat(megabyte / 16),
        "[".repeat(megabyte / 16),
        "[SEP]".repeat(megabyte / 40),
        " ".repeat(megabyte),
        "e\u{301}\u{327}".repeat(megabyte / 64),
        "\u{301}\u{327}".repeat(20_000),
        "the cat ".repeat(megabyte / 64),
        mixed,
    ];
    for rules in [UNCASED, CASED] {
        let mut both = Both::new(&tokens, rules, &special_tokens(&tokens));
        assert_equal(&mut both, texts.iter().cloned(), "long lines");
    }
}

#[test]
fn templates_and_truncation() {
    use tokenizers::{TruncationParams, TruncationStrategy, truncate_encodings};
    let tokens = vocabulary(3000);
    let mut both = Both::new(&tokens, UNCASED, &special_tokens(&tokens));
    let mut random = Random(11);
    let (mut first, mut second) = (Tokens::new(), Tokens::ids_only());
    let (mut ids, mut type_ids) = (Vec::new(), Vec::new());
    for round in 0..6000 {
        let max_length = 4 + random.below(40);
        let truncation = TruncationParams {
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            ..Default::default()
        };
        both.reference
            .with_truncation(Some(truncation.clone()))
            .expect("a valid truncation");
        let tokenizer = both.rules.with(both.tables.view().expect("valid tables"));
        let template = both.rules.template();
        let (a, b) = (line(&mut random), line(&mut random));
        ids.clear();
        type_ids.clear();
        let is_pair = round % 2 == 0;
        let room = max_length.saturating_sub(template.special_count(is_pair));
        let expected = if is_pair {
            tokenizer.tokenize_pair([&a, &b], room + 1, room, [&mut first, &mut second]);
            let (n, m) = bertlet::tokenizer::truncate_pair(first.ids.len(), second.ids.len(), room);
            template.assemble(
                &first.ids[..n],
                Some(&second.ids[..m]),
                &mut ids,
                &mut type_ids,
            );
            // Cut behind tokenizing: this version stops before it knows which text is the longer.
            both.reference.with_truncation(None).expect("no truncation");
            let whole = [&a, &b].map(|text| {
                both.reference
                    .encode(text.as_str(), false)
                    .expect("encodes")
            });
            let [one, other] = whole;
            let truncation = TruncationParams {
                max_length: room,
                ..truncation
            };
            let (one, other) = truncate_encodings(one, Some(other), &truncation).expect("room");
            both.reference.post_process(one, other, true)
        } else {
            tokenizer.tokenize_some(&a, max_length, &mut first);
            let kept = bertlet::tokenizer::TruncationSide::Right.kept(first.ids.len(), room);
            template.assemble(&first.ids[kept], None, &mut ids, &mut type_ids);
            both.reference.encode(a.as_str(), true)
        }
        .expect("tokenizers encodes every text");
        assert_eq!(ids, expected.get_ids(), "{a:?} {b:?} at most {max_length}");
        let types: Vec<u32> = type_ids.iter().map(|&t| t as u32).collect();
        assert_eq!(
            types,
            expected.get_type_ids(),
            "{a:?} {b:?} at most {max_length}"
        );
    }
}

#[test]
fn windows_are_those_of_tokenizers() {
    use bertlet::tokenizer::windows;
    use tokenizers::{Encoding, TruncationDirection};
    for tokens in 0..30 {
        for window in 1..12 {
            for overlap in 0..window {
                let ids: Vec<u32> = (0..tokens as u32).collect();
                let mut encoding = Encoding::from_tokens(
                    ids.iter()
                        .map(|&id| tokenizers::Token::new(id, String::new(), (0, 0)))
                        .collect(),
                    0,
                );
                encoding.truncate(window, overlap, TruncationDirection::Right);
                let mut expected = vec![encoding.get_ids().to_vec()];
                expected.extend(
                    encoding
                        .get_overflowing()
                        .iter()
                        .map(|part| part.get_ids().to_vec()),
                );
                let found: Vec<Vec<u32>> = windows(tokens, window, overlap)
                    .map(|range| ids[range].to_vec())
                    .collect();
                assert_eq!(
                    found, expected,
                    "{tokens} tokens, window {window}, overlap {overlap}"
                );
            }
        }
    }
    assert_eq!(
        windows(5, 0, 9).collect::<Vec<_>>(),
        [0..1, 1..2, 2..3, 3..4, 4..5]
    );
    assert_eq!(
        windows(5, 2, 9).collect::<Vec<_>>(),
        [0..2, 1..3, 2..4, 3..5]
    );
}

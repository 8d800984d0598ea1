//! The vocabulary's tables: what is in them, what odd vocabularies become, and what broken tables cannot do.

use crate::support::{Both, Random, UNCASED, line, special_tokens, vocabulary};
use bertlet::tokenizer::{Tokens, Vocabulary, VocabularyTables};

#[test]
fn every_token_is_found_both_ways() {
    for count in [100, 3000, 40_000] {
        let tokens = vocabulary(count);
        let tables = VocabularyTables::build(&tokens).expect("a layout");
        assert_eq!(
            tables,
            VocabularyTables::build(&tokens).expect("a layout"),
            "the layout is repeatable"
        );
        let view = tables.view().expect("valid tables");
        assert_eq!(view.len(), tokens.len());
        for (text, id) in &tokens {
            assert_eq!(view.id(text), Some(*id), "{text:?}");
            assert_eq!(view.token(*id), Some(text.as_str()), "{id}");
        }
        for text in ["", "[S", "##\u{10FFFF}", "no such token", "[SEP]]", "\0"] {
            assert_eq!(view.id(text), None, "{text:?}");
        }
        assert_eq!(view.token(tokens.len() as u32), None);
        assert_eq!(view.token(u32::MAX), None);
    }
}

#[test]
fn order_does_not_change_the_trie() {
    let mut tokens = vocabulary(1000);
    let tables = VocabularyTables::build(&tokens).expect("a layout");
    tokens.reverse();
    assert_eq!(tables, VocabularyTables::build(&tokens).expect("a layout"));
}

#[test]
fn holes_duplicates_and_the_empty_token() {
    let tokens = [("a", 0), ("b", 1), ("a", 5), ("", 3), ("c", 6), ("d", 6)];
    let tables = VocabularyTables::build(&tokens).expect("a layout");
    let view = tables.view().expect("valid tables");
    assert_eq!(view.len(), 7);
    assert_eq!(
        (
            view.id("a"),
            view.id("b"),
            view.id(""),
            view.id("c"),
            view.id("d")
        ),
        (Some(5), Some(1), Some(3), Some(6), Some(6))
    );
    let texts: Vec<_> = (0..7).map(|id| view.token(id)).collect();
    assert_eq!(
        texts,
        [None, Some("b"), None, Some(""), None, Some("a"), Some("d")]
    );
    assert!(VocabularyTables::build(&[("far", u32::MAX)]).is_err());
    let empty = VocabularyTables::build::<&str>(&[]).expect("a layout");
    assert!(empty.view().expect("valid tables").is_empty());
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let tables = VocabularyTables::build(&[("a", 0)]).expect("a layout");
    assert!(Vocabulary::new(&[], &tables.token_starts, &tables.token_text).is_err());
    assert!(Vocabulary::new(&tables.trie[1..], &tables.token_starts, &tables.token_text).is_err());
    assert!(Vocabulary::new(&tables.trie, &[], &tables.token_text).is_err());
    assert!(Vocabulary::new(&tables.trie, &tables.token_starts, &[]).is_err());
}

/// Tables with random damage: no panic, no endless loop, ids below the bound, offsets on character boundaries.
#[test]
fn broken_tables_do_no_harm() {
    let tokens = vocabulary(300);
    let Both { rules, tables, .. } = Both::new(&tokens, UNCASED, &special_tokens(&tokens));
    let mut random = Random(9);
    let mut out = Tokens::new();
    for _ in 0..300 {
        let mut broken = tables.clone();
        for _ in 0..=random.below(400) {
            let at = random.below(broken.trie.len());
            let value = random.next() as u32;
            // A random unit is seldom a child of anything, so also keep the byte and damage the rest.
            broken.trie[at] = if random.below(2) == 0 {
                value
            } else {
                value & !0xFF | broken.trie[at] & 0xFF
            };
            let last = broken.token_starts.len() - 1;
            broken.token_starts[random.below(last)] = random.next() as u32;
            let at = random.below(broken.token_text.len());
            broken.token_text[at] = random.next() as u8;
        }
        let view = broken.view().expect("lengths are as they were");
        for id in 0..view.len() as u32 + 2 {
            let _ = view.token(id);
        }
        for _ in 0..20 {
            let text = line(&mut random);
            rules.with(view).tokenize(&text, &mut out);
            assert!(out.ids.iter().all(|&id| (id as usize) < rules.id_bound()));
            assert_eq!(out.ids.len(), out.offsets.len());
            assert!(
                out.offsets
                    .iter()
                    .all(|&(start, end)| text.get(start..end).is_some())
            );
        }
    }
}

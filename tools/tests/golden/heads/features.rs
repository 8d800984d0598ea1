//! Hidden states of chosen layers, and attention weights.

use super::{Case, answers, case, strings};
use crate::support::largest_difference;
use bertlet::format::header::Pooling;
use bertlet::{AttentionViewer, Combine, FeatureExtractor, Layers, Text, TextOptions};

const TOLERANCE: f32 = 1e-5;

#[test]
fn states_of_any_layers_are_those_of_transformers() {
    let case = case("features", "f16");
    check_states(&case, TOLERANCE);
    for wrong in [3, -4] {
        let error = Layers::new(&case.model, &[wrong], Combine::Sum).unwrap_err();
        assert!(error.to_string().contains("the model has 2"), "{error}");
    }
}

/// The states behind each layer, by its number from both ends, and of several layers.
pub fn check_states(case: &Case, tolerance: f32) {
    let texts: Vec<Text<'_>> = strings(&case.meta["texts"])
        .into_iter()
        .map(Text::from)
        .collect();
    let stage = |index: usize| &case.tensors[&format!("hidden.{index}")];
    let config = &case.model.header().config;
    let (hidden, last) = (config.hidden_size, config.num_hidden_layers);
    let features = |layers: &[isize], combine| -> Vec<f32> {
        let layers = Layers::new(&case.model, layers, combine).unwrap();
        let extractor = FeatureExtractor::new(&case.model, layers, TextOptions::default()).unwrap();
        let all = answers(&extractor, &texts);
        all.into_iter()
            .flatten()
            .flat_map(|token| token.values)
            .collect()
    };
    for layer in 0..=last {
        for index in [layer as isize, layer as isize - last as isize - 1] {
            let found = features(&[index], Combine::Concatenate);
            let difference = largest_difference(&found, stage(layer));
            assert!(difference <= tolerance, "layer {index}: {difference}");
        }
    }
    let both = features(&[-1, 0], Combine::Concatenate);
    let expected: Vec<f32> = stage(last)
        .chunks(hidden)
        .zip(stage(0).chunks(hidden))
        .flat_map(|(last, first)| [last, first].concat())
        .collect();
    assert!(largest_difference(&both, &expected) <= tolerance);
    let sum = features(&[-1, -2, 0], Combine::Sum);
    let expected: Vec<f32> = (0..sum.len())
        .map(|i| stage(last)[i] + stage(last - 1)[i] + stage(0)[i])
        .collect();
    assert!(largest_difference(&sum, &expected) <= 3.0 * tolerance);
}

#[test]
fn tokens_have_their_places_and_pooling_is_the_mean() {
    let case = case("features", "f16");
    let layers = Layers::new(&case.model, &[-1], Combine::Concatenate).unwrap();
    let extractor = FeatureExtractor::new(&case.model, layers, TextOptions::default()).unwrap();
    let pair = Text::from(("Café films", "the cat"));
    let tokens = answers(&extractor, &[pair]).remove(0);
    let found: Vec<_> = tokens
        .iter()
        .map(|t| (&t.token[..], t.offsets, t.text))
        .collect();
    assert_eq!(
        found,
        [
            ("[CLS]", (0, 0), None),
            ("cafe", (0, 4), Some(0)),
            ("film", (5, 9), Some(0)),
            ("##s", (9, 10), Some(0)),
            ("[SEP]", (0, 0), None),
            ("the", (0, 3), Some(1)),
            ("cat", (4, 7), Some(1)),
            ("[SEP]", (0, 0), None),
        ]
    );
    let mut pooled = Vec::new();
    FeatureExtractor::pool(&tokens, &[Pooling::Mean], &mut pooled);
    let mean: f32 = tokens.iter().map(|token| token.values[5]).sum::<f32>() / 8.0;
    assert!((pooled[5] - mean).abs() < 1e-6);
}

#[test]
fn attention_is_that_of_transformers() {
    for (precision, tolerance) in [("f16", TOLERANCE), ("int8", 0.014)] {
        let largest = attention_difference(&case("features", precision));
        println!("{precision}: {largest}");
        assert!(largest <= tolerance, "{precision}: {largest}");
    }
    let case = case("features", "f16");
    for (layer, head, said) in [
        (0, None, "layers 1 to 2"),
        (3, None, "layers 1 to 2"),
        (1, Some(6), "heads 1 to 5"),
    ] {
        let error =
            AttentionViewer::new(&case.model, layer, head, TextOptions::default()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// Largest difference of an attention weight from the reference's, over all layers, heads and their means.
pub fn attention_difference(case: &Case) -> f32 {
    let config = &case.model.header().config;
    let heads = config.num_attention_heads;
    let mut expected = &case.tensors["attention"][..];
    let mut largest = 0f32;
    let weights = |text: &str, layer, head| {
        let viewer = AttentionViewer::new(&case.model, layer, head, TextOptions::default());
        answers(&viewer.unwrap(), &[text.into()]).remove(0).weights
    };
    for text in strings(&case.meta["texts"]) {
        for layer in 1..=config.num_hidden_layers as isize {
            let mut mean = Vec::new();
            for head in 1..=heads {
                let found = weights(text, layer, Some(head));
                let (now, later) = expected.split_at(found.len());
                expected = later;
                largest = largest.max(largest_difference(&found, now));
                mean.resize(found.len(), 0.0);
                mean.iter_mut()
                    .zip(now)
                    .for_each(|(m, x)| *m += x / heads as f32);
            }
            let from_behind = layer - 1 - config.num_hidden_layers as isize;
            let found = weights(text, from_behind, None);
            largest = largest.max(largest_difference(&found, &mean));
        }
    }
    assert!(expected.is_empty());
    largest
}

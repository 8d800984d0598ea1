//! Hidden states of chosen layers, and attention weights.

use super::{answers, case, strings};
use crate::support::largest_difference;
use bertlet::format::header::Pooling;
use bertlet::{AttentionViewer, Combine, FeatureExtractor, Layers, Text, TextOptions};

const TOLERANCE: f32 = 1e-5;

#[test]
fn states_of_any_layers_are_those_of_transformers() {
    let case = case("features", "f16", "features");
    let texts: Vec<Text<'_>> = strings(&case.meta["texts"])
        .into_iter()
        .map(Text::from)
        .collect();
    let stage = |index: usize| &case.tensors[&format!("hidden.{index}")];
    let hidden = case.model.header().config.hidden_size;
    let features = |layers: &[isize], combine| -> Vec<f32> {
        let layers = Layers::new(&case.model, layers, combine).unwrap();
        let extractor = FeatureExtractor::new(&case.model, layers, TextOptions::default()).unwrap();
        let all = answers(&extractor, &texts);
        all.into_iter()
            .flatten()
            .flat_map(|token| token.values)
            .collect()
    };
    for (layer, expected) in [(0, 0), (1, 1), (2, 2), (-1, 2), (-2, 1), (-3, 0)] {
        let found = features(&[layer], Combine::Concatenate);
        assert!(
            largest_difference(&found, stage(expected)) <= TOLERANCE,
            "layer {layer}"
        );
    }
    let both = features(&[-1, 0], Combine::Concatenate);
    let expected: Vec<f32> = stage(2)
        .chunks(hidden)
        .zip(stage(0).chunks(hidden))
        .flat_map(|(last, first)| [last, first].concat())
        .collect();
    assert!(largest_difference(&both, &expected) <= TOLERANCE);
    let sum = features(&[-1, -2, -3], Combine::Sum);
    let expected: Vec<f32> = (0..sum.len())
        .map(|i| stage(2)[i] + stage(1)[i] + stage(0)[i])
        .collect();
    assert!(largest_difference(&sum, &expected) <= 3.0 * TOLERANCE);
    for wrong in [3, -4] {
        let error = Layers::new(&case.model, &[wrong], Combine::Sum).unwrap_err();
        assert!(error.to_string().contains("the model has 2"), "{error}");
    }
}

#[test]
fn tokens_have_their_places_and_pooling_is_the_mean() {
    let case = case("features", "f16", "features-places");
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
        let case = case("features", precision, "attention");
        let config = &case.model.header().config;
        let heads = config.num_attention_heads;
        let mut expected = &case.tensors["attention"][..];
        let mut largest = 0f32;
        for text in strings(&case.meta["texts"]) {
            for layer in 1..=config.num_hidden_layers as isize {
                let mut mean = Vec::new();
                for head in 1..=heads {
                    let viewer = AttentionViewer::new(
                        &case.model,
                        layer,
                        Some(head),
                        TextOptions::default(),
                    );
                    let found = answers(&viewer.unwrap(), &[text.into()]).remove(0);
                    let each = found.tokens.len() * found.tokens.len();
                    let (now, later) = expected.split_at(each);
                    expected = later;
                    largest = largest.max(largest_difference(&found.weights, now));
                    mean.resize(each, 0.0);
                    mean.iter_mut()
                        .zip(now)
                        .for_each(|(m, x)| *m += x / heads as f32);
                }
                let from_behind = layer - 1 - config.num_hidden_layers as isize;
                let viewer =
                    AttentionViewer::new(&case.model, from_behind, None, TextOptions::default());
                let found = answers(&viewer.unwrap(), &[text.into()]).remove(0);
                largest = largest.max(largest_difference(&found.weights, &mean));
            }
        }
        assert!(expected.is_empty());
        println!("{precision}: {largest}");
        assert!(largest <= tolerance, "{precision}: {largest}");
    }
    let case = case("features", "f16", "attention-refused");
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

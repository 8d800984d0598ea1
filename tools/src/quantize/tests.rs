use super::smoothing::importance;
use super::*;
use crate::weights::{LayerNorm, LayerWeights};
use bertlet::format::header::{Activation, Config};

/// Repeatable values in −1…1.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn random_linear(seed: u64, n: usize, k: usize) -> Linear {
    let weight = noise(seed, n * k)
        .iter()
        .map(|x| x / (k as f32).sqrt())
        .collect();
    Linear {
        weight,
        bias: noise(seed + 1, n),
        in_features: k,
        out_features: n,
    }
}

/// A model of widths that are multiples of nothing the packing likes.
fn tiny_model() -> Weights {
    let config = Config {
        model_type: "bert".into(),
        hidden_size: 36,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 70,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-12,
        max_position_embeddings: 24,
        type_vocab_size: 2,
        vocab_size: 50,
        embedding_size: None,
        pad_token_id: None,
        num_hidden_groups: None,
        relative_attention_bias: false,
    };
    let norm = || LayerNorm {
        weight: vec![1.0; 36],
        bias: vec![0.0; 36],
    };
    let layer = |seed| LayerWeights {
        query_key_value: random_linear(seed, 108, 36),
        attention_output: random_linear(seed + 10, 36, 36),
        attention_layer_norm: norm(),
        intermediate: random_linear(seed + 20, 70, 36),
        output: random_linear(seed + 30, 36, 70),
        output_layer_norm: norm(),
    };
    Weights {
        word_embeddings: noise(1, 50 * 36),
        position_table: noise(2, 2 * 24 * 36),
        embeddings_layer_norm: norm(),
        embeddings_projection: None,
        relative_attention_bias: None,
        layers: vec![layer(100), layer(200)],
        pooler: None,
        classifier: None,
        next_sentence: None,
        language_model: None,
        dense: Vec::new(),
        config,
    }
}

fn tiny_batch() -> Batch {
    let mut batch = Batch::default();
    for sequence in 0..40u32 {
        let ids: Vec<u32> = (0..3 + sequence % 20)
            .map(|i| (sequence * 7 + i * 11) % 50)
            .collect();
        let types: Vec<u32> = (0..ids.len() as u32).map(|i| u32::from(i > 4)).collect();
        batch.push(&ids, &types).unwrap();
    }
    batch
}

/// Applies the packed layers as the runtime's definition says, from the integers.
struct Runtime<'a>(&'a QuantizedEncoder);

impl Linears for Runtime<'_> {
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>> {
        let layer = &self.0.layers[layer];
        let packed = match kind {
            LinearKind::QueryKeyValue => &layer.query_key_value,
            LinearKind::AttentionOutput => &layer.attention_output,
            LinearKind::Intermediate => &layer.intermediate,
            LinearKind::Output => &layer.output,
        };
        let mut output = Vec::new();
        for row in input.chunks_exact(packed.in_features) {
            let row: Vec<f32> = row
                .iter()
                .zip(&packed.input_scale)
                .map(|(x, scale)| x * scale)
                .collect();
            let channels = packed.bias.len();
            let groups: Vec<(f32, f32, Vec<i32>)> = row
                .chunks(GROUP)
                .map(|group| {
                    let low = group.iter().fold(f32::INFINITY, |low, &x| low.min(x));
                    let high = group.iter().fold(f32::NEG_INFINITY, |high, &x| high.max(x));
                    let step = (high - low) / 255.0;
                    let code = |x: &f32| ((x - low) / step).round_ties_even() as i32;
                    (low, step, group.iter().map(code).collect())
                })
                .collect();
            for channel in 0..packed.out_features {
                let mut sum = packed.bias[channel];
                for (index, (low, step, codes)) in groups.iter().enumerate() {
                    let first = index * GROUP;
                    let weight = |i: usize| i32::from(packed.step(channel, first + i));
                    let codes = codes.iter().enumerate();
                    let product: i32 = codes.map(|(i, code)| code * weight(i)).sum();
                    let scale = packed.scale[index * channels + channel];
                    let column_sum = packed.column_sum[index * channels + channel];
                    sum += low * (scale * column_sum as f32) + product as f32 * (step * scale);
                }
                output.push(sum);
            }
        }
        Ok(output)
    }
}

#[test]
fn the_packed_encoder_follows_the_f32_encoder() {
    let (weights, batch) = (tiny_model(), tiny_batch());
    let quantized = quantize_encoder(&weights, &batch, |_, _| ()).unwrap();
    assert_eq!(quantized.layers.len(), 2);
    let exact = forward(&weights, &batch, &mut Exact(&weights)).unwrap();
    let found = forward(&weights, &batch, &mut Runtime(&quantized)).unwrap();
    let mut lowest = 1.0f64;
    for (exact, found) in exact.chunks_exact(36).zip(found.chunks_exact(36)) {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        lowest = lowest.min(dot(exact, found) / (dot(exact, exact) * dot(found, found)).sqrt());
    }
    assert!(lowest > 0.9995, "lowest cosine of a token {lowest}");
}

#[test]
fn equal_input_gives_equal_output_and_progress_reaches_its_total() {
    let (weights, batch) = (tiny_model(), tiny_batch());
    let mut steps = Vec::new();
    let first =
        quantize_encoder(&weights, &batch, |done, total| steps.push((done, total))).unwrap();
    assert_eq!(steps, (0..=16).map(|done| (done, 16)).collect::<Vec<_>>());
    assert_eq!(
        first,
        quantize_encoder(&weights, &batch, |_, _| ()).unwrap()
    );
}

#[test]
fn the_mean_output_is_the_one_asked_for() {
    let (n, k, tokens) = (20, 70, 90);
    let layer = random_linear(9, n, k);
    let mut input: Vec<f32> = noise(4, tokens * k).iter().map(|x| x + 0.3).collect();
    for row in input.chunks_exact_mut(k) {
        row[5] = 0.0;
        row[6] *= 40.0;
    }
    let means = column_means(&linear(&input, &layer), n);
    let (packed, output) = quantize_linear(&layer, LinearKind::Output, &input, &means).unwrap();
    for (found, expected) in column_means(&output, n).iter().zip(&means) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    assert!(
        packed.input_scale[6] < packed.input_scale[7],
        "the loud channel is turned down"
    );
    assert!(
        packed
            .input_scale
            .iter()
            .all(|scale| scale.is_finite() && *scale > 0.0)
    );
}

#[test]
fn errors_of_values_count_more_than_those_of_queries_and_keys() {
    let mut layer = Linear {
        weight: vec![0.0; 6 * 2],
        bias: vec![0.0; 6],
        in_features: 2,
        out_features: 6,
    };
    layer.weight[3 * 2] = 8.0; // the second key, first input
    layer.weight[4 * 2 + 1] = 3.0; // the values, second input
    layer.weight[5 * 2 + 1] = -4.0;
    assert_eq!(importance(&layer, LinearKind::QueryKeyValue), [1.0, 5.0]);
    assert_eq!(importance(&layer, LinearKind::Intermediate), [8.0, 5.0]);
}

#[test]
fn a_layer_of_zeros_and_a_constant_input_give_the_bias() {
    let layer = Linear {
        weight: vec![0.0; 3 * 5],
        bias: vec![1.0, -2.0, 0.5],
        in_features: 5,
        out_features: 3,
    };
    for value in [0.0, 2.0] {
        let (packed, output) =
            quantize_linear(&layer, LinearKind::Output, &[value; 20], &layer.bias).unwrap();
        assert_eq!(packed.bias[..3], layer.bias);
        assert!(
            packed.weight.iter().all(|&weight| weight == 0)
                && packed.scale.iter().all(|&scale| scale == 0.0)
        );
        assert_eq!(output[..3], layer.bias);
    }
}

#[test]
fn what_is_not_finite_or_does_not_fit_is_an_error() {
    let mut weights = tiny_model();
    let batch = tiny_batch();
    assert!(quantize_encoder(&weights, &Batch::default(), |_, _| ()).is_err());
    let mut foreign = Batch::default();
    foreign.push(&[50], &[0]).unwrap();
    let error = quantize_encoder(&weights, &foreign, |_, _| ()).unwrap_err();
    assert_eq!(error.to_string(), "token id 50 in a vocabulary of 50");
    weights.layers[1].output.weight[3] = f32::NAN;
    let error = quantize_encoder(&weights, &batch, |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("layer 1, Output"), "{error:#}");
}

#[test]
fn rows_are_rounded_to_half_a_step_and_zero_rows_stay_zero() {
    let mut table = noise(8, 3 * 10);
    table[10..20].fill(0.0);
    let rows = quantize_rows(&table, 10);
    assert_eq!(rows.scale[1], 0.0);
    for (index, (value, step)) in table.iter().zip(&rows.weight).enumerate() {
        let scale = rows.scale[index / 10];
        assert!(
            (value - f32::from(*step) * scale).abs() <= 0.501 * scale,
            "{index}"
        );
    }
}

#[test]
fn calibration_text_is_varied() {
    let lines: Vec<&str> = CALIBRATION_TEXT.lines().collect();
    assert!(lines.len() >= 250 && lines.iter().all(|line| !line.trim().is_empty()));
    let words = |line: &&str| line.split_whitespace().count();
    assert!(lines.iter().map(words).max() >= Some(120) && lines.iter().map(words).min() == Some(1));
}

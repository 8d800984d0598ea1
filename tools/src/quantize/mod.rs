//! TEMPORARY plain rounding until the real one lands.
#![allow(missing_docs)]
use crate::weights::*;
pub struct PackedLinear { pub n: usize, pub k: usize, pub weight: Vec<i8>, pub scale: Vec<f32>, pub column_sum: Vec<i32>, pub bias: Vec<f32>, pub input_scale: Vec<f32> }
pub struct Words { pub weight: Vec<i8>, pub scale: Vec<f32> }
pub struct QuantizedEncoder { pub word_embeddings: Words, pub layers: Vec<[PackedLinear; 4]> }
fn row(x: &[f32]) -> (Vec<i8>, f32) { let m = x.iter().fold(0f32, |m, v| m.max(v.abs())); let s = m / 127.0; (x.iter().map(|v| if s > 0.0 { (v / s).round() as i8 } else { 0 }).collect(), s) }
pub fn linear(l: &Linear) -> PackedLinear {
    let (n, k) = (l.out_features, l.in_features); let (n16, k64) = (n.div_ceil(16), k.div_ceil(64) * 64);
    let mut p = PackedLinear { n, k, weight: vec![0; n16 * 16 * k64], scale: vec![0.0; n16 * 16], column_sum: vec![0; n16 * 16], bias: vec![0.0; n16 * 16], input_scale: vec![1.0; k] };
    for c in 0..n { let (q, s) = row(&l.weight[c * k..][..k]); p.scale[c] = s; p.bias[c] = l.bias[c]; p.column_sum[c] = q.iter().map(|v| *v as i32).sum();
        for (i, v) in q.iter().enumerate() { p.weight[(c / 16) * 16 * k64 + (i / 4) * 64 + (c % 16) * 4 + i % 4] = *v; } }
    p
}
pub fn quantize_encoder(w: &Weights) -> QuantizedEncoder {
    let h = w.config.hidden_size; let mut words = Words { weight: vec![], scale: vec![] };
    for r in w.word_embeddings.chunks(h) { let (q, s) = row(r); words.weight.extend(q); words.scale.push(s); }
    QuantizedEncoder { word_embeddings: words, layers: w.layers.iter().map(|l| [linear(&l.query_key_value), linear(&l.attention_output), linear(&l.intermediate), linear(&l.output)]).collect() }
}

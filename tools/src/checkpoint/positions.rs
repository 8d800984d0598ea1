//! Positions that are computed: the original Transformer's vectors, and MPNet's bias by distance.

use bertlet::format::header::Config;

/// Table of `positions` × `hidden_size`: channel 2i holds sin(position / 10000^(2i/hidden_size)), channel 2i+1 the
/// cosine of the same angle (Vaswani et al. 2017, section 3.5). DistilBERT's table has this order too. Computed in f64
/// and rounded once.
pub(crate) fn sinusoidal(positions: usize, hidden_size: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(positions * hidden_size);
    for position in 0..positions {
        for channel in 0..hidden_size {
            let exponent = (channel - channel % 2) as f64 / hidden_size as f64;
            let angle = position as f64 / 10_000_f64.powf(exponent);
            let value = if channel % 2 == 0 {
                angle.sin()
            } else {
                angle.cos()
            };
            table.push(value as f32);
        }
    }
    table
}

/// Distances from which on all share one bucket.
const MAX_DISTANCE: f32 = 128.0;

/// `[num_attention_heads, 2·max_position_embeddings − 1]` by the key's place less the query's, out of the values of the
/// buckets, `[buckets, num_attention_heads]`.
pub(crate) fn by_distance(values: &[f32], buckets: usize, config: &Config) -> Vec<f32> {
    let heads = config.num_attention_heads;
    let farthest = config.max_position_embeddings as isize - 1;
    let mut table = Vec::with_capacity(heads * (2 * farthest as usize + 1));
    for head in 0..heads {
        let distances = -farthest..=farthest;
        table.extend(distances.map(|distance| values[bucket(distance, buckets) * heads + head]));
    }
    table
}

/// The bucket of a key `distance` places behind a query, as MPNet counts: keys before the query in the first half of the
/// buckets, keys behind it in the second; near distances one by one, far ones by their logarithm. f32 as in PyTorch, so that
/// a distance on the edge of two buckets comes to the same side.
fn bucket(distance: isize, buckets: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let side = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs();
    if distance < exact {
        return side + distance;
    }
    let exact_distance = exact as f32;
    let share = (distance as f32 / exact_distance).ln()
        / (f64::from(MAX_DISTANCE / exact_distance)).ln() as f32;
    let far = exact + (share * (half - exact) as f32) as usize;
    side + far.min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_mpnet() {
        // transformers.models.mpnet.modeling_mpnet.MPNetEncoder.relative_position_bucket, 32 buckets.
        for (distance, expected) in [
            (0, 0),
            (-1, 1),
            (-7, 7),
            (-8, 8),
            (-11, 8),
            (-12, 9),
            (-16, 10),
            (-23, 11),
            (-32, 12),
            (-64, 14),
            (-91, 15),
            (-128, 15),
            (-500, 15),
            (1, 17),
            (7, 23),
            (8, 24),
            (128, 31),
            (500, 31),
        ] {
            assert_eq!(bucket(distance, 32), expected, "{distance}");
        }
    }
}

//! The original Transformer's position vectors.

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

//! The int8 form of a matrix as the kernels read it.

use super::GROUP as INPUT_GROUP;

/// Output channels of a panel.
const PANEL: usize = 16;
/// Inputs that lie side by side for one output channel.
const GROUP: usize = 4;
/// K is padded to a multiple of this: one row of panel data per group fills whole tiles.
const DEPTH: usize = 64;

/// A linear layer in int8, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedLinear {
    /// Width of the input (K).
    pub in_features: usize,
    /// Width of the output (N).
    pub out_features: usize,
    /// `[N16, K4, 16, 4]`: panels of 16 output channels; N padded to 16 and K to 64 with zeros.
    pub weight: Vec<i8>,
    /// `[ceil(K / GROUP), N16·16]`: value of one step of each output channel's weights for a group of inputs.
    pub scale: Vec<f32>,
    /// `[ceil(K / GROUP), N16·16]`: sums of each output channel's int8 weights over a group of inputs.
    pub column_sum: Vec<i32>,
    /// `[N16·16]`.
    pub bias: Vec<f32>,
    /// `[K]`: what the input is multiplied by before it is quantized.
    pub input_scale: Vec<f32>,
}

impl PackedLinear {
    /// Packs row-major `steps` `[N, K]` with scales `[N, ceil(K / GROUP)]`.
    ///
    /// # Panics
    /// If `steps` or `scale` does not have the length that `input_scale` (K) and `bias` (N) imply.
    pub(super) fn pack(steps: &[i8], scale: &[f32], bias: &[f32], input_scale: Vec<f32>) -> Self {
        let (n, k) = (bias.len(), input_scale.len());
        let groups = k.div_ceil(INPUT_GROUP);
        assert_eq!(steps.len(), n * k, "steps");
        assert_eq!(scale.len(), n * groups, "scales");
        let (channels, depth) = (n.next_multiple_of(PANEL), k.next_multiple_of(DEPTH));
        let mut weight = vec![0; channels * depth];
        let mut column_sum = vec![0; groups * channels];
        let mut padded_scale = vec![0.0; groups * channels];
        for (channel, row) in steps.chunks_exact(k).enumerate() {
            for (index, group) in row.chunks(INPUT_GROUP).enumerate() {
                column_sum[index * channels + channel] =
                    group.iter().map(|&step| i32::from(step)).sum();
                padded_scale[index * channels + channel] = scale[channel * groups + index];
            }
            for (input, &step) in row.iter().enumerate() {
                weight[position(depth, channel, input)] = step;
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(channels, 0.0);
        Self {
            in_features: k,
            out_features: n,
            weight,
            scale: padded_scale,
            column_sum,
            bias,
            input_scale,
        }
    }

    /// The int8 weight of an output channel for an input.
    ///
    /// # Panics
    /// If `channel` or `input` lies outside the padded matrix.
    pub fn step(&self, channel: usize, input: usize) -> i8 {
        self.weight[position(self.in_features.next_multiple_of(DEPTH), channel, input)]
    }

    /// `[N16, K4, 16, 4]`, the shape of [`weight`](Self::weight) in the file.
    pub fn weight_shape(&self) -> [usize; 4] {
        let depth = self.in_features.next_multiple_of(DEPTH);
        [
            self.out_features.div_ceil(PANEL),
            depth / GROUP,
            PANEL,
            GROUP,
        ]
    }
}

/// Where the weight of `channel` for `input` lies in a packed matrix of padded depth `depth`.
fn position(depth: usize, channel: usize, input: usize) -> usize {
    let panel = channel / PANEL * depth * PANEL;
    panel + input / GROUP * PANEL * GROUP + channel % PANEL * GROUP + input % GROUP
}

#[cfg(test)]
mod tests {
    use super::{INPUT_GROUP, PackedLinear};

    #[test]
    fn every_weight_is_found_again_and_the_padding_is_zero() {
        for (n, k) in [(1usize, 1usize), (15, 63), (16, 64), (17, 65), (33, 300)] {
            let steps: Vec<i8> = (0..n * k).map(|i| (i * 37 % 255) as i8).collect();
            let input_groups = k.div_ceil(INPUT_GROUP);
            let scale: Vec<f32> = (0..n * input_groups).map(|i| i as f32 + 0.5).collect();
            let packed = PackedLinear::pack(&steps, &scale, &vec![1.0; n], vec![1.0; k]);
            let [panels, groups, 16, 4] = packed.weight_shape() else {
                panic!("{:?}", packed.weight_shape())
            };
            assert_eq!(packed.weight.len(), panels * groups * 64);
            for channel in 0..panels * 16 {
                let mut sums = vec![0; input_groups];
                for input in 0..groups * 4 {
                    let inside = channel < n && input < k;
                    let expected = if inside {
                        steps[channel * k + input]
                    } else {
                        0
                    };
                    assert_eq!(
                        packed.step(channel, input),
                        expected,
                        "{n}×{k} at ({channel}, {input})"
                    );
                    if inside {
                        sums[input / INPUT_GROUP] += i32::from(expected);
                    }
                }
                for (index, sum) in sums.into_iter().enumerate() {
                    let at = index * panels * 16 + channel;
                    assert_eq!(packed.column_sum[at], sum);
                    let expected = scale.get(channel * input_groups + index);
                    assert_eq!(packed.scale[at], *expected.unwrap_or(&0.0));
                }
                assert_eq!(packed.bias[channel], if channel < n { 1.0 } else { 0.0 });
            }
        }
    }

    #[test]
    fn panel_layout_is_the_documented_one() {
        // Channel 17, input 6 of a 32×64 matrix: panel 1, group 1, lane 1, place 2.
        let mut steps = vec![0; 32 * 64];
        steps[17 * 64 + 6] = 9;
        let packed = PackedLinear::pack(&steps, &[1.0; 32], &[0.0; 32], vec![1.0; 64]);
        assert_eq!(packed.weight_shape(), [2, 16, 16, 4]);
        assert_eq!(packed.weight[((16 + 1) * 16 + 1) * 4 + 2], 9);
    }
}

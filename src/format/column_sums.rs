//! The sums of weights that a file has beside them, computed again.

use super::error::FormatError;
use super::file::tensor_bytes;
use super::header::{Dtype, Header, TensorEntry};

/// Checks that each *linear*`.column_sum` is that of *linear*`.weight`: some kernels take the sums from the file, others compute them, and
/// all are to give the same bytes.
///
/// # Errors
/// [`FormatError::ColumnSum`]; [`FormatError::MissingTensor`] and [`FormatError::Shape`] where there are no weights like that.
pub(super) fn check(header: &Header, bytes: &[u8]) -> Result<(), FormatError> {
    for sums in &header.tensors {
        let Some(linear) = sums.name.strip_suffix(".column_sum") else {
            continue;
        };
        let name = format!("{linear}.weight");
        match header.tensors.iter().find(|entry| entry.name == name) {
            Some(weight) => check_linear(header.quantization_group, sums, weight, bytes)?,
            None => return Err(FormatError::MissingTensor { name }),
        }
    }
    Ok(())
}

fn check_linear(
    group: usize,
    sums: &TensorEntry,
    weight: &TensorEntry,
    bytes: &[u8],
) -> Result<(), FormatError> {
    let shape = |entry: &TensorEntry, dtype, expected: Vec<usize>| {
        let found = (entry.dtype, entry.shape.clone());
        match found == (dtype, expected.clone()) {
            true => Ok(()),
            false => Err(FormatError::Shape {
                name: entry.name.clone(),
                found,
                expected: (dtype, expected),
            }),
        }
    };
    // Fours of inputs: of the layer, and of a group.
    let all = weight.shape.get(1).copied().unwrap_or(0).max(1);
    let fours = (group / 4).clamp(1, all);
    let channels = sums.shape.get(1).copied().unwrap_or(0);
    shape(weight, Dtype::I8, vec![channels / 16, all, 16, 4])?;
    shape(
        sums,
        Dtype::I32,
        vec![all.div_ceil(fours), channels / 16 * 16],
    )?;
    let weights: &[i8] = bytemuck::cast_slice(tensor_bytes(weight, bytes));
    let expected: &[i32] = bytemuck::cast_slice(tensor_bytes(sums, bytes));
    for (panel, weights) in weights.chunks_exact(all * 64).enumerate() {
        for (group, weights) in weights.chunks(fours * 64).enumerate() {
            let mut found = [0; 16];
            for four in weights.as_chunks::<64>().0 {
                for (sum, w) in found.iter_mut().zip(four.as_chunks::<4>().0) {
                    *sum += w.iter().copied().map(i32::from).sum::<i32>();
                }
            }
            let first = group * channels + panel * 16;
            let stored = &expected[first..first + 16];
            if let Some(channel) = (0..16).find(|channel| found[*channel] != stored[*channel]) {
                return Err(FormatError::ColumnSum {
                    name: sums.name.clone(),
                    index: first + channel,
                    found: stored[channel],
                    expected: found[channel],
                });
            }
        }
    }
    Ok(())
}

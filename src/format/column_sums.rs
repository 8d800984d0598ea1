//! The sums of weights that a file has beside them, computed again.

use super::error::FormatError;
use super::file::ModelFile;

/// Checks that each *linear*`.column_sum` is that of *linear*`.weight`: some kernels take the sums from the file, others compute them, and
/// all are to give the same bytes.
///
/// # Errors
/// [`FormatError::ColumnSum`]; [`FormatError::MissingTensor`] and [`FormatError::Shape`] where there are no weights like that.
pub(super) fn check(file: &ModelFile) -> Result<(), FormatError> {
    let locator = file.locator();
    for entry in &file.header().tensors {
        let Some(linear) = entry.name.strip_suffix(".column_sum") else {
            continue;
        };
        let name = format!("{linear}.weight");
        // Fours of inputs: of the layer, and of a group.
        let all = locator.entry(&name)?.shape.get(1).copied();
        let all = all.unwrap_or(0).max(1);
        let fours = (file.header().quantization_group / 4).clamp(1, all);
        let panels = entry.shape.get(1).copied().unwrap_or(0) / 16;
        let channels = panels * 16;
        let weights = locator.tensor::<i8>(&name, &[panels, all, 16, 4])?;
        let sums = locator.tensor::<i32>(&entry.name, &[all.div_ceil(fours), channels])?;
        let stored = file.get(sums);
        for (panel, weights) in file.get(weights).chunks_exact(all * 64).enumerate() {
            for (group, weights) in weights.chunks(fours * 64).enumerate() {
                let first = group * channels + panel * 16;
                let stored = &stored[first..first + 16];
                let added = add_up(weights);
                if let Some(channel) = (0..16).find(|index| added[*index] != stored[*index]) {
                    return Err(FormatError::ColumnSum {
                        name: entry.name.clone(),
                        index: first + channel,
                        found: stored[channel],
                        expected: added[channel],
                    });
                }
            }
        }
    }
    Ok(())
}

/// The sums of sixteen channels' weights, `[fours, 16, 4]`.
fn add_up(weights: &[i8]) -> [i32; 16] {
    let mut sums = [0; 16];
    for four in weights.as_chunks::<64>().0 {
        for (sum, w) in sums.iter_mut().zip(four.as_chunks::<4>().0) {
            *sum += w.iter().copied().map(i32::from).sum::<i32>();
        }
    }
    sums
}

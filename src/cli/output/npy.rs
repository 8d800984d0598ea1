//! The header of a NumPy `.npy` file (format version 1.0).

/// Size of the header in bytes. Fixed, so that it can be written again when the number of rows is known;
/// a multiple of 64 as NumPy wants it, with room for any 64-bit count.
pub const SIZE: usize = 128;

/// The header of a C-ordered array `[rows, columns]` of little-endian elements of type `descr` (`<f4`, `|i1`, …).
pub fn header(descr: &str, rows: u64, columns: usize) -> [u8; SIZE] {
    let mut header = [b' '; SIZE];
    header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    header[8..10].copy_from_slice(&((SIZE - 10) as u16).to_le_bytes());
    let text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header[10..10 + text.len()].copy_from_slice(text.as_bytes());
    header[SIZE - 1] = b'\n';
    header
}

/// The number of rows that a header made by [`header`] names.
pub fn rows(header: &[u8; SIZE]) -> Option<u64> {
    let text = std::str::from_utf8(&header[10..]).ok()?;
    let (_, shape) = text.split_once("'shape': (")?;
    shape.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_fixed_size_for_any_count() {
        let header = header("<f4", u64::MAX, usize::MAX);
        let text = std::str::from_utf8(&header[10..SIZE - 1]).unwrap();
        let shape = format!("'shape': ({}, {}), }}", u64::MAX, usize::MAX);
        assert!(text.trim_end_matches(' ').ends_with(&shape), "{text}");
        assert_eq!(header[SIZE - 1], b'\n');
        assert_eq!(rows(&header), Some(u64::MAX));
        assert_eq!(rows(&[b' '; SIZE]), None);
        assert_eq!(
            usize::from(u16::from_le_bytes([header[8], header[9]])) + 10,
            SIZE
        );
    }
}

//! Writing: the same bytes for the same input.

use super::file::align;
use super::header::{Dtype, Header, TensorEntry};
use super::{ALIGNMENT, MAGIC, PREFIX_LENGTH, VERSION};
use std::borrow::Cow;
use std::io::{self, Write};

/// A tensor on its way into a file.
#[derive(Debug, Clone)]
pub struct TensorData<'a> {
    /// Unique name.
    pub name: String,
    /// Type of an element.
    pub dtype: Dtype,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Little-endian elements, row-major.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> TensorData<'a> {
    /// Takes the elements of a slice as they lie in memory.
    ///
    /// # Panics
    /// If `shape` does not have as many elements as `elements`.
    pub fn new<T: super::file::Element>(
        name: impl Into<String>,
        shape: &[usize],
        elements: &[T],
    ) -> TensorData<'static> {
        let name = name.into();
        assert_eq!(
            shape.iter().product::<usize>(),
            elements.len(),
            "{name}: shape {shape:?}"
        );
        TensorData {
            name,
            dtype: T::DTYPE,
            shape: shape.to_vec(),
            bytes: Cow::Owned(bytemuck::cast_slice(elements).to_vec()),
        }
    }
}

/// Writes a model: `header` with its tensor table made from `tensors`, then the tensors.
///
/// # Errors
/// What `out` returns; [`io::ErrorKind::InvalidData`] if the header cannot be written as JSON.
///
/// # Panics
/// If a tensor's bytes do not fit its shape.
pub fn write(
    mut header: Header,
    tensors: &[TensorData<'_>],
    out: &mut impl Write,
) -> io::Result<()> {
    header.tensors = tensors
        .iter()
        .map(|tensor| {
            let elements: usize = tensor.shape.iter().product();
            assert_eq!(
                elements * tensor.dtype.size(),
                tensor.bytes.len(),
                "{}: bytes do not fit shape {:?}",
                tensor.name,
                tensor.shape
            );
            TensorEntry {
                name: tensor.name.clone(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
                offset: 0,
                crc32: crc32fast::hash(&tensor.bytes),
            }
        })
        .collect();
    let json = with_offsets(&mut header)?;
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&0u32.to_le_bytes())?;
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;
    let mut end = (PREFIX_LENGTH + json.len()) as u64;
    for (tensor, entry) in tensors.iter().zip(&header.tensors) {
        out.write_all(&[0; ALIGNMENT][..(entry.offset - end) as usize])?;
        out.write_all(&tensor.bytes)?;
        end = entry.offset + tensor.bytes.len() as u64;
    }
    out.flush()
}

/// Sets the tensors' offsets and returns the JSON. Offsets make the JSON longer and so move the tensors: the length is
/// found by repetition, which ends because offsets only grow, and their digits with them.
fn with_offsets(header: &mut Header) -> io::Result<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut end = (PREFIX_LENGTH + length) as u64;
        for entry in &mut header.tensors {
            entry.offset = align(end).expect("a file that memory holds");
            let elements: usize = entry.shape.iter().product();
            end = entry.offset + (elements * entry.dtype.size()) as u64;
        }
        let mut json = serde_json::to_vec(header)?;
        if json.len() <= length {
            // White space behind the object keeps the length that the offsets were counted for.
            json.resize(length, b' ');
            return Ok(json);
        }
        length = json.len();
    }
}

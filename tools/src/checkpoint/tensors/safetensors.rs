//! safetensors files: the header is read and checked by the `safetensors` crate, the data by `TensorStore`.

use super::{Element, StoredTensor};
use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, tensor::Metadata};
use std::{fs::File, io::Read};

/// Bytes in front of the header: its length.
const PREFIX: u64 = 8;
/// The crate's own limit for a header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// Lists the tensors of a file.
pub(super) fn read_header(file: &mut File) -> Result<Vec<(String, StoredTensor)>> {
    let length = file.metadata()?.len();
    let mut prefix = [0; PREFIX as usize];
    file.read_exact(&mut prefix)
        .context("is not a safetensors file: shorter than 8 bytes")?;
    let header = u64::from_le_bytes(prefix);
    ensure!(
        header <= MAX_HEADER && header <= length - PREFIX,
        "is not a safetensors file, or is cut short: the header's length is {header}, the file's {length} bytes"
    );
    let mut text = Vec::new();
    file.take(header).read_to_end(&mut text)?;
    // `Metadata::new` behind this checks that the tensors follow each other without holes and that sizes fit shapes.
    let metadata: Metadata =
        serde_json::from_slice(&text).context("the safetensors header is not valid")?;
    let data = PREFIX + header;
    let expected = data + metadata.data_len() as u64;
    ensure!(
        length == expected,
        "is {length} bytes long, the header says {expected}; download it again"
    );
    Ok(metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let tensor = StoredTensor {
                file: 0,
                element: element(info.dtype),
                shape: info.shape.clone(),
                strides: None,
                offset: data + info.data_offsets.0 as u64,
            };
            (name, tensor)
        })
        .collect())
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F64 => Element::Other("F64"),
        Dtype::I64 => Element::Other("I64"),
        Dtype::I32 => Element::Other("I32"),
        Dtype::I8 => Element::Other("I8"),
        Dtype::U8 => Element::Other("U8"),
        Dtype::BOOL => Element::Other("BOOL"),
        _ => Element::Other("of another kind"),
    }
}

//! `pytorch_model.bin` as torch writes it since 1.6: a zip archive without compression that holds one pickle and one
//! file for each storage. The archive's directory is read by the `zip` crate, the pickle by `pickle`, and tensors
//! straight from the archive's file, since nothing in it is compressed.

use super::{
    Element, StoredTensor,
    pickle::{self, PickledTensor},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read, Seek},
};
use zip::{CompressionMethod, ZipArchive};

/// Largest pickle that is read, in bytes. One entry of a state dictionary takes about 150 bytes, so bert-large needs
/// 60 kB; the limit bounds what a hostile file can make us allocate.
const MAX_PICKLE: u64 = 4 << 20;

/// First bytes of torch's format before 1.6: a pickled magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// A file of the archive: its place and length in bytes.
type Span = (u64, u64);

/// Lists the tensors of a file.
pub(super) fn read_header(file: &mut File) -> Result<Vec<(String, StoredTensor)>> {
    refuse_legacy(file)?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .context("is not a zip archive as torch.save writes it")?;
    let files = list(&mut archive)?;
    let pickles: Vec<&str> = files
        .keys()
        .filter_map(|name| name.strip_suffix("/data.pkl"))
        .collect();
    let [root] = pickles[..] else {
        bail!(
            "holds {} files 'data.pkl'; torch.save writes exactly one",
            pickles.len()
        );
    };
    let order = read(&mut archive, files.get(&format!("{root}/byteorder")))?;
    ensure!(
        order.is_empty() || order == b"little",
        "was saved on a big-endian machine; save it again on a little-endian one"
    );
    let pickle = read(&mut archive, files.get(&format!("{root}/data.pkl")))?;
    pickle::read_tensors(&pickle)?
        .into_iter()
        .map(|(name, tensor)| {
            let key = format!("{root}/data/{}", tensor.storage.key);
            let stored =
                locate(&tensor, &key, &files).with_context(|| format!("tensor '{name}'"))?;
            Ok((name, stored))
        })
        .collect()
}

fn refuse_legacy(file: &mut File) -> Result<()> {
    let mut start = Vec::new();
    file.take(LEGACY.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    ensure!(
        start != LEGACY,
        "is in torch's format from before 1.6, which is not read; save it again: python3 -c \"import torch; \
         f='pytorch_model.bin'; torch.save(torch.load(f, map_location='cpu', weights_only=True), f)\""
    );
    Ok(())
}

/// Finds the data of every file in the archive.
fn list(archive: &mut ZipArchive<BufReader<&mut File>>) -> Result<HashMap<String, Span>> {
    let mut files = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .context("the zip archive is damaged")?;
        let name = entry
            .name()
            .context("the zip archive is damaged")?
            .into_owned();
        ensure!(
            entry.compression() == CompressionMethod::Stored && !entry.encrypted(),
            "'{name}' in the zip archive is compressed or encrypted; torch.save stores it plain"
        );
        let start = entry
            .data_start()
            .with_context(|| format!("'{name}' in the zip archive is damaged"))?;
        files.insert(name, (start, entry.size()));
    }
    Ok(files)
}

fn read(archive: &mut ZipArchive<BufReader<&mut File>>, span: Option<&Span>) -> Result<Vec<u8>> {
    let Some(&(start, length)) = span else {
        return Ok(Vec::new());
    };
    ensure!(
        length <= MAX_PICKLE,
        "its data.pkl is {length} bytes long; expected at most {MAX_PICKLE}"
    );
    // The zip crate checks the CRC itself, where it is asked for more than there is.
    let index = (0..archive.len())
        .find(|&index| {
            archive
                .by_index_raw(index)
                .is_ok_and(|entry| entry.data_start() == Some(start))
        })
        .context("the zip archive is damaged")?;
    let mut bytes = Vec::new();
    archive
        .by_index(index)?
        .take(length + 1)
        .read_to_end(&mut bytes)
        .context("the zip archive is damaged")?;
    Ok(bytes)
}

/// Checks a tensor against its storage and finds its first byte.
fn locate(
    tensor: &PickledTensor,
    key: &str,
    files: &HashMap<String, Span>,
) -> Result<StoredTensor> {
    let element = tensor.storage.element;
    let &(start, bytes) = files
        .get(key)
        .with_context(|| format!("its storage '{key}' is missing in the archive"))?;
    let size = element.size().unwrap_or(1);
    let available = usize::try_from(bytes)? / size;
    ensure!(
        matches!(element, Element::Other(_)) || tensor.storage.length <= available,
        "its storage '{key}' holds {available} elements, expected {}",
        tensor.storage.length
    );
    let (count, end) = extent(tensor).context("its shape overflows")?;
    ensure!(
        end <= tensor.storage.length
            && (count <= tensor.storage.length || matches!(element, Element::Other(_))),
        "its shape {:?} with strides {:?} from element {} leaves its storage of {} elements",
        tensor.shape,
        tensor.strides,
        tensor.offset,
        tensor.storage.length
    );
    Ok(StoredTensor {
        file: 0,
        element,
        shape: tensor.shape.clone(),
        strides: (!row_major(tensor)).then(|| tensor.strides.clone()),
        offset: start + (tensor.offset * size) as u64,
    })
}

/// Number of elements, and one past the last element that is touched; `None` if it overflows.
fn extent(tensor: &PickledTensor) -> Option<(usize, usize)> {
    let count = tensor
        .shape
        .iter()
        .try_fold(1_usize, |product, &n| product.checked_mul(n))?;
    if count == 0 {
        return Some((0, tensor.offset));
    }
    let mut last = tensor.offset;
    for (&n, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        last = last.checked_add((n - 1).checked_mul(stride)?)?;
    }
    Some((count, last.checked_add(1)?))
}

fn row_major(tensor: &PickledTensor) -> bool {
    if tensor.shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    for (&n, &stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
        if n != 1 && stride != expected {
            return false;
        }
        expected *= n;
    }
    true
}

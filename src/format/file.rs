//! Reading: header, tensor table, typed views into the map.

use super::header::{Dtype, Header, TensorEntry};
use super::map::Bytes;
use super::{
    ALIGNMENT, FormatError, MAGIC, MAX_HEADER_LENGTH, PREFIX_LENGTH, VERSION, column_sums,
};
use crate::error::{Error, Result};
use bytemuck::Pod;
use half::f16;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

#[cfg(target_endian = "big")]
compile_error!("bertlet maps little-endian files and runs on little-endian CPUs only");

/// An open model file: its header, and its tensors in place.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    bytes: Bytes,
    header: Header,
}

/// Finds tensors by name, checks their types and shapes, and knows which were never asked for.
#[derive(Debug)]
pub struct Locator<'a> {
    file: &'a ModelFile,
    /// Index into the header's tensors.
    by_name: HashMap<&'a str, usize>,
    /// For each tensor of the header: whether it was asked for.
    found: RefCell<Vec<bool>>,
}

/// Where a tensor with elements of type `T` lies in one [`ModelFile`]. Checked when it is made.
#[derive(Debug)]
pub struct Tensor<T> {
    start: usize,
    length: usize,
    element: PhantomData<T>,
}

impl<T> Clone for Tensor<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Tensor<T> {}

/// Element types of tensors.
pub trait Element: Pod {
    /// The header's name of this type.
    const DTYPE: Dtype;
}

macro_rules! element {
    ($($type:ty => $dtype:ident),*) => {
        $(impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
        })*
    };
}
element!(i8 => I8, u8 => U8, f16 => F16, f32 => F32, i32 => I32, u32 => U32);

impl ModelFile {
    /// Maps `path` and checks its header. The weights are not read.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be mapped, [`Error::Format`] if it breaks a rule of the format.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile> {
        let path = path.as_ref();
        let bytes = Bytes::map(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        ModelFile::parse(path.to_owned(), bytes)
    }

    /// Maps the model that lies in a file of another kind, `length` bytes from byte `offset` on, which is a multiple of
    /// [`ALIGNMENT`].
    ///
    /// # Errors
    /// As [`ModelFile::open`]; [`Error::Io`] too if the file is shorter than that.
    pub fn open_part(path: impl AsRef<Path>, offset: u64, length: u64) -> Result<ModelFile> {
        let path = path.as_ref();
        let bytes = Bytes::map_part(path, offset, length).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        ModelFile::parse(path.to_owned(), bytes)
    }

    /// Uses a model that the executable carries; `bytes` must begin at a multiple of 64.
    ///
    /// # Errors
    /// [`Error::Format`] if the bytes break a rule of the format.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<ModelFile> {
        ModelFile::parse(PathBuf::from(name), Bytes::Static(bytes))
    }

    fn parse(path: PathBuf, bytes: Bytes) -> Result<ModelFile> {
        match parse(&bytes).and_then(|header| check_scales(&bytes, &header).map(|()| header)) {
            Ok(header) => Ok(ModelFile {
                path,
                bytes,
                header,
            }),
            Err(source) => Err(Error::Format { path, source }),
        }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The path that was opened, or the name of the static data.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Begins to look up tensors by name.
    pub fn locator(&self) -> Locator<'_> {
        let tensors = self.header.tensors.iter().enumerate();
        Locator {
            file: self,
            by_name: tensors
                .map(|(index, entry)| (&entry.name[..], index))
                .collect(),
            found: RefCell::new(vec![false; self.header.tensors.len()]),
        }
    }

    /// A tensor's elements, in place.
    ///
    /// # Panics
    /// If `tensor` was found in another file that is larger than this one.
    pub fn get<T: Element>(&self, tensor: Tensor<T>) -> &[T] {
        let bytes = &self.bytes[tensor.start..][..tensor.length * size_of::<T>()];
        // The tensor's offset is a multiple of 64 and so is the map's address, so the cast cannot fail.
        bytemuck::cast_slice(bytes)
    }

    /// Reads the whole file: padding, checksums, that every number is finite, and the sums of weights.
    ///
    /// # Errors
    /// [`Error::Format`] naming the first tensor that is not as it was written.
    pub fn verify(&self) -> Result<()> {
        let mut end = PREFIX_LENGTH + header_length(&self.bytes) as usize;
        for entry in &self.header.tensors {
            self.verify_tensor(entry, end).map_err(|e| self.error(e))?;
            end = entry.offset as usize + byte_length(entry).unwrap_or(0) as usize;
        }
        column_sums::check(self).map_err(|e| self.error(e))
    }

    fn error(&self, source: FormatError) -> Error {
        Error::Format {
            path: self.path.clone(),
            source,
        }
    }

    fn verify_tensor(&self, entry: &TensorEntry, padding: usize) -> Result<(), FormatError> {
        let name = || entry.name.clone();
        let start = entry.offset as usize;
        let bytes = tensor_bytes(entry, &self.bytes);
        if self.bytes[padding..start].iter().any(|byte| *byte != 0) {
            return Err(FormatError::Padding { name: name() });
        }
        let found = crc32fast::hash(bytes);
        if found != entry.crc32 {
            return Err(FormatError::Checksum {
                name: name(),
                found,
                expected: entry.crc32,
            });
        }
        check_finite(entry, bytes)
    }
}

impl<'a> Locator<'a> {
    /// The file that is searched.
    pub fn file(&self) -> &'a ModelFile {
        self.file
    }

    /// Finds a tensor and checks its type and shape.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], [`FormatError::Shape`].
    pub fn tensor<T: Element>(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Tensor<T>, FormatError> {
        let entry = self.entry(name)?;
        if entry.dtype != T::DTYPE || entry.shape != shape {
            return Err(FormatError::Shape {
                name: name.to_owned(),
                found: (entry.dtype, entry.shape.clone()),
                expected: (T::DTYPE, shape.to_vec()),
            });
        }
        Ok(locate(entry))
    }

    /// Finds a tensor of one dimension whose length the file alone knows.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], [`FormatError::Shape`].
    pub fn vector<T: Element>(&self, name: &str) -> Result<Tensor<T>, FormatError> {
        let length = match self.entry(name)?.shape[..] {
            [length] => length,
            _ => 0,
        };
        self.tensor(name, &[length])
    }

    /// Ends the search.
    ///
    /// # Errors
    /// [`FormatError::UnknownTensor`] if the file has a tensor that was never asked for.
    pub fn finish(self) -> Result<(), FormatError> {
        let found = self.found.into_inner();
        match found.iter().position(|found| !found) {
            Some(index) => Err(FormatError::UnknownTensor {
                name: self.file.header.tensors[index].name.clone(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn entry(&self, name: &str) -> Result<&'a TensorEntry, FormatError> {
        match self.by_name.get(name) {
            Some(&index) => {
                self.found.borrow_mut()[index] = true;
                Ok(&self.file.header.tensors[index])
            }
            None => Err(FormatError::MissingTensor {
                name: name.to_owned(),
            }),
        }
    }
}

fn locate<T: Element>(entry: &TensorEntry) -> Tensor<T> {
    Tensor {
        start: entry.offset as usize,
        length: entry.shape.iter().product(),
        element: PhantomData,
    }
}

fn header_length(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"))
}

/// Size of a tensor in bytes, if it can be counted.
fn byte_length(entry: &TensorEntry) -> Option<u64> {
    let elements = entry.shape.iter().try_fold(1u64, |product, dimension| {
        product.checked_mul(*dimension as u64)
    })?;
    elements.checked_mul(entry.dtype.size() as u64)
}

/// The first multiple of [`ALIGNMENT`] that is not below `position`.
pub(super) fn align(position: u64) -> Option<u64> {
    position.checked_next_multiple_of(ALIGNMENT as u64)
}

fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
    let length = bytes.len();
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LENGTH>() else {
        return Err(FormatError::TooShort { length });
    };
    let found: [u8; 8] = prefix[..8].try_into().expect("eight bytes");
    if found != MAGIC {
        return Err(FormatError::Magic { found });
    }
    let word = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("four bytes"));
    if word(8) != VERSION {
        return Err(FormatError::Version { found: word(8) });
    }
    if word(12) != 0 {
        return Err(FormatError::Reserved { found: word(12) });
    }
    let (found, available) = (header_length(bytes), rest.len() as u64);
    if found > available || found > MAX_HEADER_LENGTH {
        return Err(FormatError::HeaderLength { found, available });
    }
    let header: Header =
        serde_json::from_slice(&rest[..found as usize]).map_err(|error| FormatError::Header {
            message: error.to_string(),
        })?;
    super::validate::validate(&header)?;
    check_table(&header.tensors, PREFIX_LENGTH as u64 + found, length as u64)?;
    Ok(header)
}

/// A tensor's bytes in those of the file, which has them: the table was checked.
fn tensor_bytes<'a>(entry: &TensorEntry, bytes: &'a [u8]) -> &'a [u8] {
    &bytes[entry.offset as usize..][..byte_length(entry).unwrap_or(0) as usize]
}

/// Checks that the numbers of a tensor are finite, if they are floating-point.
fn check_finite(entry: &TensorEntry, bytes: &[u8]) -> Result<(), FormatError> {
    let wrong = match entry.dtype {
        Dtype::F32 => bytemuck::cast_slice::<u8, f32>(bytes)
            .iter()
            .position(|value| !value.is_finite()),
        Dtype::F16 => bytemuck::cast_slice::<u8, f16>(bytes)
            .iter()
            .position(|value| !value.is_finite()),
        Dtype::I8 | Dtype::U8 | Dtype::I32 | Dtype::U32 => None,
    };
    match wrong {
        Some(index) => Err(FormatError::NotFinite {
            name: entry.name.clone(),
            index,
        }),
        None => Ok(()),
    }
}

/// Checks the scales of quantized tensors: one that is no number would spoil every answer in silence. They are a few
/// kilobytes a layer, so that a load stays quick.
fn check_scales(bytes: &[u8], header: &Header) -> Result<(), FormatError> {
    let is_scale = |name: &str| name.ends_with(".scale") || name.ends_with(".input_scale");
    for entry in header.tensors.iter().filter(|entry| is_scale(&entry.name)) {
        check_finite(entry, tensor_bytes(entry, bytes))?;
    }
    Ok(())
}

/// Checks that the tensors fill the file from `end` on, one behind the other.
fn check_table(tensors: &[TensorEntry], mut end: u64, length: u64) -> Result<(), FormatError> {
    let mut names = HashSet::with_capacity(tensors.len());
    for entry in tensors {
        let expected = align(end).unwrap_or(u64::MAX);
        let name = || entry.name.clone();
        if entry.offset != expected {
            return Err(FormatError::Offset {
                name: name(),
                found: entry.offset,
                expected,
            });
        }
        let tensor_end = byte_length(entry).and_then(|size| entry.offset.checked_add(size));
        end = tensor_end.ok_or_else(|| FormatError::Size {
            name: name(),
            shape: entry.shape.clone(),
        })?;
        if !names.insert(&entry.name) {
            return Err(FormatError::DuplicateTensor { name: name() });
        }
    }
    if end != length {
        return Err(FormatError::Length {
            found: length,
            expected: end,
        });
    }
    Ok(())
}

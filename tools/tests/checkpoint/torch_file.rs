//! Writes `pytorch_model.bin` as `torch.save` does: a pickle and the storages in a zip archive without compression.

use crate::common::{Tensors, Type};

/// Opcodes of a pickle under construction.
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Pickle {
        Pickle(vec![0x80, 2])
    }

    pub fn op(&mut self, bytes: &[u8]) -> &mut Pickle {
        self.0.extend(bytes);
        self
    }

    pub fn global(&mut self, module: &str, name: &str) -> &mut Pickle {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn text(&mut self, text: &str) -> &mut Pickle {
        self.op(b"X")
            .op(&(text.len() as u32).to_le_bytes())
            .op(text.as_bytes())
    }

    fn int(&mut self, number: usize) -> &mut Pickle {
        self.op(b"J").op(&(number as i32).to_le_bytes())
    }

    fn tuple(&mut self, numbers: &[usize]) -> &mut Pickle {
        self.op(b"(");
        for &number in numbers {
            self.int(number);
        }
        self.op(b"t")
    }
}

/// What to write, and what to do wrong.
pub struct TorchFile {
    tensors: Tensors,
    kind: Type,
    pickle: Option<Vec<u8>>,
    /// Wraps each tensor in a parameter.
    pub parameters: bool,
    /// Hangs `_metadata` on the dictionary.
    pub metadata: bool,
    /// Gives the first tensor twice.
    pub twice: bool,
    /// Puts all tensors in one storage, matrices transposed.
    pub shared_transposed: bool,
    pub stride_factor: usize,
    pub drop_storage: bool,
    pub cut_storage: bool,
    pub byte_order: &'static str,
}

impl TorchFile {
    pub fn of(tensors: &Tensors, kind: Type) -> TorchFile {
        TorchFile {
            tensors: tensors.clone(),
            kind,
            pickle: None,
            parameters: false,
            metadata: false,
            twice: false,
            shared_transposed: false,
            stride_factor: 1,
            drop_storage: false,
            cut_storage: false,
            byte_order: "little",
        }
    }

    pub fn with_pickle(pickle: Vec<u8>) -> TorchFile {
        TorchFile {
            pickle: Some(pickle),
            ..TorchFile::of(&Tensors::new(), Type::F32)
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        let (storages, views) = self.layout();
        let storage_type = match self.kind {
            Type::F32 => "FloatStorage",
            Type::F16 => "HalfStorage",
            Type::Bf16 => "BFloat16Storage",
            Type::F64 => "DoubleStorage",
        };
        let mut pickle = Pickle::new();
        pickle.global("collections", "OrderedDict").op(b")R(");
        let named = self.tensors.iter().zip(&views);
        let again = named.clone().take(self.twice.into());
        for ((name, (shape, _)), (storage, offset, strides)) in named.chain(again) {
            pickle.text(name);
            if self.parameters {
                pickle.global("torch._utils", "_rebuild_parameter").op(b"(");
            }
            pickle
                .global("torch._utils", "_rebuild_tensor_v2")
                .op(b"((");
            pickle
                .text("storage")
                .global("torch", storage_type)
                .text(&storage.to_string())
                .text("cpu");
            pickle.int(storages[*storage].len()).op(b"tQ");
            let strides: Vec<usize> = strides
                .iter()
                .map(|stride| stride * self.stride_factor)
                .collect();
            pickle.int(*offset).tuple(shape).tuple(&strides).op(&[0x89]);
            pickle.global("collections", "OrderedDict").op(b")RtR");
            if self.parameters {
                pickle
                    .op(&[0x88])
                    .global("collections", "OrderedDict")
                    .op(b")RtR");
            }
        }
        pickle.op(b"u");
        if self.metadata {
            pickle
                .op(b"}")
                .text("_metadata")
                .op(b"}")
                .text("version")
                .int(1)
                .op(b"ssb");
        }
        pickle.op(b".");
        let pickle = self.pickle.unwrap_or(pickle.0);
        let mut files = vec![
            ("archive/data.pkl".to_owned(), pickle),
            ("archive/byteorder".to_owned(), self.byte_order.into()),
            ("archive/version".to_owned(), b"3\n".to_vec()),
        ];
        for (index, values) in storages.iter().enumerate().skip(self.drop_storage.into()) {
            let mut bytes = self.kind.bytes(values);
            if self.cut_storage {
                bytes.pop();
            }
            files.push((format!("archive/data/{index}"), bytes));
        }
        zip(&files)
    }

    /// The storages' values, and for each tensor its storage, offset and strides.
    #[allow(
        clippy::type_complexity,
        reason = "a local triple that a name would not make clearer"
    )]
    fn layout(&self) -> (Vec<Vec<f32>>, Vec<(usize, usize, Vec<usize>)>) {
        let mut storages: Vec<Vec<f32>> = Vec::new();
        let mut views = Vec::new();
        for (shape, values) in self.tensors.values() {
            if !self.shared_transposed {
                let strides = if shape.len() == 2 {
                    vec![shape[1], 1]
                } else {
                    vec![1]
                };
                views.push((storages.len(), 0, strides));
                storages.push(values.clone());
                continue;
            }
            if storages.is_empty() {
                storages.push(Vec::new());
            }
            let offset = storages[0].len();
            if let [rows, columns] = shape[..] {
                let transposed =
                    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c]));
                storages[0].extend(transposed);
                views.push((0, offset, vec![1, rows]));
            } else {
                storages[0].extend(values);
                views.push((0, offset, vec![1]));
            }
        }
        (storages, views)
    }
}

/// A zip archive of stored files.
fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    use std::io::Write;
    let mut archive = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default()
        .compression_method(::zip::CompressionMethod::Stored);
    for (name, content) in files {
        archive.start_file(name.as_str(), options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

//! An unpickler that can build tensors and nothing else.
//!
//! A pickle is a program for a stack machine; Python's own one can call any function. This one knows the opcodes that
//! `torch.save` writes for a dictionary of tensors and the few globals they name. Every other opcode and every other
//! global is refused by name, so a file can make it do nothing but describe tensors. Values live in one arena and refer
//! to each other by index: a hostile file can neither recurse nor make a value own itself, and each opcode costs at most
//! one arena entry, so memory is bounded by the pickle's length.

use super::Element;
use anyhow::{Context, Result, bail, ensure};

/// A tensor as the pickle describes it; the data lies in the storage's own file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PickledTensor {
    pub storage: Storage,
    /// First element, counted in elements of the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Distance of neighbours in elements, one for each dimension.
    pub strides: Vec<usize>,
}

/// A storage that tensors are views of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Name of its file within the archive.
    pub key: String,
    pub element: Element,
    /// Number of elements.
    pub length: usize,
}

/// Index of a value in the arena.
type Id = usize;

#[derive(Debug, Clone)]
enum Value {
    None,
    Bool,
    Integer(i64),
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(PickledTensor),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool => "a truth value",
            Value::Integer(_) => "an integer",
            Value::Float => "a float",
            Value::Text(_) => "a string",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Global(_) => "a class or function",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

/// Limits that keep copies of one remembered value from adding up: dimensions of a tensor (torch's own limit is 64,
/// weights have 2), bytes of a storage's key (a number), and bytes of a tensor's name.
const MAX_DIMENSIONS: usize = 8;
const MAX_KEY: usize = 64;
const MAX_NAME: usize = 1024;

/// The globals that a pickled dictionary of tensors needs.
#[derive(Debug, Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    StorageType(Element),
}

fn global(module: &str, name: &str) -> Result<Global> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "FloatStorage") => Global::StorageType(Element::F32),
        ("torch", "HalfStorage") => Global::StorageType(Element::F16),
        ("torch", "BFloat16Storage") => Global::StorageType(Element::Bf16),
        ("torch", "DoubleStorage") => Global::StorageType(Element::Other("F64")),
        ("torch", "LongStorage") => Global::StorageType(Element::Other("I64")),
        ("torch", "IntStorage") => Global::StorageType(Element::Other("I32")),
        ("torch", "CharStorage") => Global::StorageType(Element::Other("I8")),
        ("torch", "ByteStorage") => Global::StorageType(Element::Other("U8")),
        ("torch", "BoolStorage") => Global::StorageType(Element::Other("BOOL")),
        _ => bail!(
            "the pickle names '{module}.{name}', which is not needed to describe tensors; \
             refused, since loading it in Python could run code"
        ),
    })
}

/// The opcodes that are understood, by the names of Python's `pickletools`.
mod opcode {
    pub const MARK: u8 = b'(';
    pub const STOP: u8 = b'.';
    pub const POP: u8 = b'0';
    pub const POP_MARK: u8 = b'1';
    pub const DUP: u8 = b'2';
    pub const BINFLOAT: u8 = b'G';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const NONE: u8 = b'N';
    pub const BINPERSID: u8 = b'Q';
    pub const REDUCE: u8 = b'R';
    pub const BINSTRING: u8 = b'T';
    pub const SHORT_BINSTRING: u8 = b'U';
    pub const BINUNICODE: u8 = b'X';
    pub const EMPTY_LIST: u8 = b']';
    pub const APPEND: u8 = b'a';
    pub const BUILD: u8 = b'b';
    pub const GLOBAL: u8 = b'c';
    pub const APPENDS: u8 = b'e';
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const SETITEM: u8 = b's';
    pub const TUPLE: u8 = b't';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const SETITEMS: u8 = b'u';
    pub const EMPTY_DICT: u8 = b'}';
    pub const PROTO: u8 = 0x80;
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const LONG1: u8 = 0x8a;
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const MEMOIZE: u8 = 0x94;
    pub const FRAME: u8 = 0x95;

    /// Opcodes that make objects of any class; named for the message that refuses them.
    pub fn refused(opcode: u8) -> Option<&'static str> {
        Some(match opcode {
            b'i' => "INST",
            b'o' => "OBJ",
            b'P' => "PERSID",
            0x81 => "NEWOBJ",
            0x82 => "EXT1",
            0x83 => "EXT2",
            0x84 => "EXT4",
            0x92 => "NEWOBJ_EX",
            _ => return None,
        })
    }
}

/// Reads a pickled dictionary from names to tensors, in its order.
pub(super) fn read_tensors(pickle: &[u8]) -> Result<Vec<(String, PickledTensor)>> {
    let mut machine = Machine {
        rest: pickle,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    let top = loop {
        let place = pickle.len() - machine.rest.len();
        let opcode = machine.byte()?;
        if opcode == opcode::STOP {
            break machine.pop()?;
        }
        machine
            .step(opcode)
            .with_context(|| format!("data.pkl, byte {place}"))?;
    };
    let Value::Dict(entries) = &machine.values[top] else {
        bail!(
            "holds {}, expected a dictionary of tensors (what 'torch.save(model.state_dict(), …)' writes)",
            machine.values[top].kind()
        );
    };
    entries
        .iter()
        .map(|&(key, value)| {
            let Value::Text(name) = &machine.values[key] else {
                bail!(
                    "a key is {}, expected a tensor's name",
                    machine.values[key].kind()
                );
            };
            ensure!(
                name.len() <= MAX_NAME,
                "a tensor's name is {} bytes long",
                name.len()
            );
            match &machine.values[value] {
                Value::Tensor(tensor) => Ok((name.clone(), tensor.clone())),
                other => bail!(
                    "entry '{name}' is {}, expected a tensor (a checkpoint of a training run? \
                     save 'model.state_dict()' alone)",
                    other.kind()
                ),
            }
        })
        .collect()
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    /// Remembered values by their number. Pickles number them from 0 without holes.
    memo: Vec<Id>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            opcode::PROTO => {
                let version = self.byte()?;
                ensure!(
                    (2..=5).contains(&version),
                    "pickle protocol {version}; expected 2 to 5"
                );
            }
            opcode::FRAME => {
                self.take(8)?;
            }
            opcode::MARK => self.marks.push(self.stack.len()),
            opcode::POP => {
                self.pop()?;
            }
            opcode::POP_MARK => {
                self.pop_to_mark()?;
            }
            opcode::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }
            opcode::NONE => self.push(Value::None),
            opcode::NEWTRUE | opcode::NEWFALSE => self.push(Value::Bool),
            opcode::BININT => {
                let number = i32::from_le_bytes(self.bytes()?);
                self.push(Value::Integer(number.into()));
            }
            opcode::BININT1 => {
                let number = self.byte()?;
                self.push(Value::Integer(number.into()));
            }
            opcode::BININT2 => {
                let number = u16::from_le_bytes(self.bytes()?);
                self.push(Value::Integer(number.into()));
            }
            opcode::LONG1 => {
                let length = self.byte()?;
                let bytes = self.take(length.into())?;
                self.push(Value::Integer(long(bytes)?));
            }
            opcode::BINFLOAT => {
                self.take(8)?;
                self.push(Value::Float);
            }
            opcode::SHORT_BINSTRING | opcode::SHORT_BINUNICODE => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            opcode::BINSTRING | opcode::BINUNICODE => {
                let length = u32::from_le_bytes(self.bytes()?);
                self.text(length as usize)?;
            }
            opcode::EMPTY_TUPLE => self.push(Value::Tuple(Vec::new())),
            opcode::TUPLE1 => self.tuple(1)?,
            opcode::TUPLE2 => self.tuple(2)?,
            opcode::TUPLE3 => self.tuple(3)?,
            opcode::TUPLE => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            opcode::EMPTY_LIST => self.push(Value::List(Vec::new())),
            opcode::APPEND => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            opcode::APPENDS => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            opcode::EMPTY_DICT => self.push(Value::Dict(Vec::new())),
            opcode::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![key, value])?;
            }
            opcode::SETITEMS => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            opcode::BINPUT => {
                let number = self.byte()?;
                self.remember(number.into())?;
            }
            opcode::LONG_BINPUT => {
                let number = u32::from_le_bytes(self.bytes()?);
                self.remember(number as usize)?;
            }
            opcode::MEMOIZE => self.remember(self.memo.len())?,
            opcode::BINGET => {
                let number = self.byte()?;
                self.recall(number.into())?;
            }
            opcode::LONG_BINGET => {
                let number = u32::from_le_bytes(self.bytes()?);
                self.recall(number as usize)?;
            }
            opcode::GLOBAL => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Value::Global(global(module, name)?));
            }
            opcode::STACK_GLOBAL => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (Value::Text(module), Value::Text(name)) =
                    (&self.values[module], &self.values[name])
                else {
                    bail!("STACK_GLOBAL without two strings");
                };
                let global = global(module, name)?;
                self.push(Value::Global(global));
            }
            opcode::BINPERSID => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage));
            }
            opcode::REDUCE => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let value = self.reduce(function, arguments)?;
                self.push(value);
            }
            opcode::BUILD => {
                // torch hangs `_metadata` (module versions) on the dictionary this way; no tensor depends on it.
                self.pop()?;
                let top = self.top()?;
                let kind = &self.values[top];
                ensure!(matches!(kind, Value::Dict(_)), "BUILD on {}", kind.kind());
            }
            other => match opcode::refused(other) {
                Some(name) => bail!(
                    "the pickle uses opcode {name}, which makes objects of any class; \
                     only dictionaries of tensors are read"
                ),
                None => bail!("opcode 0x{other:02x} is not one that torch.save writes for tensors"),
            },
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .context("data.pkl ends in the middle of an opcode")?;
        self.rest = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .context("data.pkl ends in the middle of an opcode")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == b'\n')
            .context("data.pkl ends in the middle of a name")?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).context("a name is not UTF-8")
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let text = std::str::from_utf8(self.take(length)?).context("a string is not UTF-8")?;
        self.push(Value::Text(text.to_owned()));
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// The base of the stack's part above the last mark: nothing below it can be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        ensure!(self.stack.len() > self.floor(), "the stack is empty");
        self.stack.pop().context("the stack is empty")
    }

    fn top(&self) -> Result<Id> {
        ensure!(self.stack.len() > self.floor(), "the stack is empty");
        self.stack.last().copied().context("the stack is empty")
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().context("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        ensure!(
            self.stack.len() >= self.floor() + length,
            "the stack is empty"
        );
        let items = self.stack.split_off(self.stack.len() - length);
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let target = self.top()?;
        match &mut self.values[target] {
            Value::List(list) => list.extend(items),
            other => bail!("APPEND to {}", other.kind()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<()> {
        ensure!(
            items.len().is_multiple_of(2),
            "SETITEMS with a key that has no value"
        );
        let target = self.top()?;
        match &mut self.values[target] {
            Value::Dict(entries) => {
                entries.extend(items.as_chunks().0.iter().map(|&[key, value]| (key, value)));
            }
            other => bail!("SETITEM on {}", other.kind()),
        }
        Ok(())
    }

    fn remember(&mut self, number: usize) -> Result<()> {
        let top = self.top()?;
        match number.cmp(&self.memo.len()) {
            std::cmp::Ordering::Less => self.memo[number] = top,
            std::cmp::Ordering::Equal => self.memo.push(top),
            std::cmp::Ordering::Greater => bail!("memo {number} is set before {}", self.memo.len()),
        }
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Result<()> {
        let id = self
            .memo
            .get(number)
            .with_context(|| format!("memo {number} is not set"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn items(&self, id: Id, what: &str) -> Result<&[Id]> {
        match &self.values[id] {
            Value::Tuple(items) => Ok(items),
            other => bail!("{what} is {}, expected a tuple", other.kind()),
        }
    }

    fn size(&self, id: Id, what: &str) -> Result<usize> {
        match self.values[id] {
            Value::Integer(number) => number
                .try_into()
                .with_context(|| format!("{what} is {number}, expected a size")),
            ref other => bail!("{what} is {}, expected a size", other.kind()),
        }
    }

    fn sizes(&self, id: Id, what: &str) -> Result<Vec<usize>> {
        let items = self.items(id, what)?;
        ensure!(
            items.len() <= MAX_DIMENSIONS,
            "{what} has {} dimensions; at most {MAX_DIMENSIONS} are read",
            items.len()
        );
        items.iter().map(|&item| self.size(item, what)).collect()
    }

    /// A persistent id is torch's reference to a storage: `('storage', type, key, device, length)`.
    fn storage(&self, id: Id) -> Result<Storage> {
        let items = self.items(id, "a persistent id")?;
        let parts: Vec<&Value> = items.iter().map(|&item| &self.values[item]).collect();
        match parts[..] {
            [
                Value::Text(tag),
                Value::Global(Global::StorageType(element)),
                Value::Text(key),
                Value::Text(_),
                Value::Integer(_),
            ] if tag == "storage" && key.len() <= MAX_KEY => Ok(Storage {
                key: key.clone(),
                element: *element,
                length: self.size(items[4], "a storage's length")?,
            }),
            _ => bail!("a persistent id is not a storage of torch's zip format"),
        }
    }

    /// What Python would call a function for: only the few that make up a dictionary of tensors.
    fn reduce(&self, function: Id, arguments: Id) -> Result<Value> {
        let Value::Global(function) = self.values[function] else {
            bail!("REDUCE of {}", self.values[function].kind());
        };
        let arguments = self.items(arguments, "the arguments of a REDUCE")?;
        match (function, arguments) {
            (Global::OrderedDict, []) => Ok(Value::Dict(Vec::new())),
            (Global::RebuildTensor, &[storage, offset, shape, strides])
            | (Global::RebuildTensorV2, &[storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = &self.values[storage] else {
                    bail!("a tensor's storage is {}", self.values[storage].kind());
                };
                let tensor = PickledTensor {
                    storage: storage.clone(),
                    offset: self.size(offset, "a tensor's offset")?,
                    shape: self.sizes(shape, "a tensor's shape")?,
                    strides: self.sizes(strides, "a tensor's strides")?,
                };
                ensure!(
                    tensor.shape.len() == tensor.strides.len(),
                    "a tensor has {} dimensions and {} strides",
                    tensor.shape.len(),
                    tensor.strides.len()
                );
                Ok(Value::Tensor(tensor))
            }
            (Global::RebuildParameter, &[tensor, ..]) => match &self.values[tensor] {
                Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
                other => bail!("a parameter is {}, expected a tensor", other.kind()),
            },
            (function, arguments) => {
                bail!("REDUCE of {function:?} with {} arguments", arguments.len())
            }
        }
    }
}

/// Two's complement, little-endian, of any length up to 8 bytes.
fn long(bytes: &[u8]) -> Result<i64> {
    ensure!(
        bytes.len() <= 8,
        "an integer of {} bytes; expected at most 8",
        bytes.len()
    );
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut full = [if negative { 0xff } else { 0 }; 8];
    full[..bytes.len()].copy_from_slice(bytes);
    Ok(i64::from_le_bytes(full))
}

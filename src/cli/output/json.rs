//! Pieces of JSON text.

use crate::cli::input::Fields;

/// A quoted string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory cannot fail");
}

/// A number in the shortest form that reads back as the same f32; `null` for what JSON has no number for.
pub fn number(out: &mut Vec<u8>, value: f32) {
    serde_json::to_writer(out, &value).expect("writing to memory cannot fail");
}

/// An integer.
pub fn integer(out: &mut Vec<u8>, value: impl serde::Serialize + Into<i128>) {
    serde_json::to_writer(out, &value).expect("writing to memory cannot fail");
}

/// Anything that serde knows.
pub fn value(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(out, value).expect("writing to memory cannot fail");
}

/// A list.
pub fn list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// An object of one's own.
pub fn fields(out: &mut Vec<u8>, fields: &[(&str, &dyn erased::Json)]) {
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}

/// Values of different types in one list.
mod erased {
    /// What can write itself.
    pub trait Json {
        fn write(&self, out: &mut Vec<u8>);
    }

    impl<T: serde::Serialize> Json for T {
        fn write(&self, out: &mut Vec<u8>) {
            super::value(out, self);
        }
    }
}

/// What a user's field is called that has the name of one of `added`: nothing of a record is lost or mistaken for
/// the result. `taken` are the names of the other fields.
pub fn renamed(name: &str, added: &[(&str, &[u8])], taken: impl Fn(&str) -> bool) -> String {
    let mut new = format!("input_{name}");
    while taken(&new) || added.iter().any(|(field, _)| *field == new) {
        new.insert_str(0, "input_");
    }
    new
}

/// An object: the user's fields, then `added` (JSON values; an empty one only keeps its name free). A user's field of
/// the same name is renamed.
pub fn object(out: &mut Vec<u8>, fields: &Fields, added: &[(&str, &[u8])]) {
    if let Fields::Json(object) = fields {
        return object.write_with(out, added);
    }
    let mut first = true;
    let mut name = |out: &mut Vec<u8>, name: &str| {
        out.push(if std::mem::take(&mut first) {
            b'{'
        } else {
            b','
        });
        string(out, name);
        out.push(b':');
    };
    if let Fields::Columns { names, cells } = fields {
        for (column, cell) in names.iter().zip(cells) {
            if added.iter().any(|(field, _)| field == column) {
                let taken = |new: &str| names.iter().any(|column| column == new);
                name(out, &renamed(column, added, taken));
            } else {
                name(out, column);
            }
            string(out, cell);
        }
    }
    for (field, value) in added.iter().filter(|(_, value)| !value.is_empty()) {
        name(out, field);
        out.extend_from_slice(value);
    }
    out.push(b'}');
}

//! Pieces of JSON text.

use crate::cli::input::Fields;
use std::collections::HashSet;

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

/// The names that a record's fields get beside those of `added`, found in one pass over all fields.
pub struct Renames<'a> {
    added: &'a [(&'a str, &'a [u8])],
    /// For each of `added`, what a field of that name is called, if there is one.
    new: Vec<Option<String>>,
    /// The fields' names that [`renamed`] could choose: one of `added` behind any number of `input_`.
    taken: HashSet<String>,
}

impl<'a> Renames<'a> {
    /// No field has been seen.
    pub fn new(added: &'a [(&'a str, &'a [u8])]) -> Self {
        Renames {
            added,
            new: vec![None; added.len()],
            taken: HashSet::new(),
        }
    }

    /// Takes note of a field of the record.
    pub fn see(&mut self, name: &str) {
        let base = name.trim_start_matches("input_");
        for (new, (added, _)) in self.new.iter_mut().zip(self.added) {
            if name == *added {
                new.get_or_insert_default();
            } else if base.len() < name.len() && added.trim_start_matches("input_") == base {
                self.taken.insert(name.to_owned());
            }
        }
    }

    /// Whether a field has the name of a result.
    pub fn are_needed(&self) -> bool {
        self.new.iter().any(Option::is_some)
    }

    /// Chooses the names, when all fields have been seen.
    pub fn settle(&mut self) {
        let taken = |new: &str| self.taken.contains(new);
        for (new, (added, _)) in self.new.iter_mut().zip(self.added) {
            if let Some(new) = new {
                *new = renamed(added, self.added, taken);
            }
        }
    }

    /// What a field is called.
    pub fn name<'n>(&'n self, name: &'n str) -> &'n str {
        let index = self.added.iter().position(|(added, _)| *added == name);
        let new = index.and_then(|index| self.new[index].as_deref());
        new.unwrap_or(name)
    }
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
        let mut renames = Renames::new(added);
        names.iter().for_each(|column| renames.see(column));
        renames.settle();
        for (column, cell) in names.iter().zip(cells) {
            name(out, renames.name(column));
            string(out, cell);
        }
    }
    for (field, value) in added.iter().filter(|(_, value)| !value.is_empty()) {
        name(out, field);
        out.extend_from_slice(value);
    }
    out.push(b'}');
}

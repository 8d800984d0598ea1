//! The licence from the model card: the YAML header of `README.md`.

use crate::files;
use anyhow::{Context, Result};
use std::{io::ErrorKind, path::Path};

/// What the card's header says under `license`, or `license_name` where the licence has no identifier of its own.
/// `None` where there is no card or it does not say.
pub(crate) fn license(directory: &Path) -> Result<Option<String>> {
    let path = directory.join("README.md");
    match files::read(&path) {
        Ok(text) => Ok(license_in(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
}

fn license_in(card: &str) -> Option<String> {
    let mut lines = card.trim_start_matches('\u{feff}').lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let header: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let license = values(&header, "license:");
    match license.as_str() {
        "" => None,
        "other" => Some(values(&header, "license_name:"))
            .filter(|name| !name.is_empty())
            .or(Some(license)),
        _ => Some(license),
    }
}

/// The value of a top-level key: a scalar on its line, or a list (`[a, b]`, or `- a` on the lines below).
fn values(header: &[&str], key: &str) -> String {
    let Some(index) = header.iter().position(|line| line.starts_with(key)) else {
        return String::new();
    };
    let scalar = header[index][key.len()..].trim();
    if scalar.is_empty() {
        let items: Vec<&str> = header[index + 1..]
            .iter()
            .map_while(|line| line.trim_start().strip_prefix("- "))
            .map(plain)
            .collect();
        return items.join(", ");
    }
    let list = scalar
        .strip_prefix('[')
        .and_then(|list| list.strip_suffix(']'));
    let items: Vec<&str> = match list {
        Some(list) => list.split(',').map(plain).collect(),
        None => vec![plain(scalar)],
    };
    items.join(", ")
}

/// A scalar without comment and quotes.
fn plain(scalar: &str) -> &str {
    let scalar = scalar
        .split_once(" #")
        .map_or(scalar, |(value, _)| value)
        .trim();
    ['"', '\'']
        .into_iter()
        .find_map(|quote| scalar.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(scalar)
}

#[cfg(test)]
mod tests {
    use super::license_in;

    #[test]
    fn license_forms() {
        let card = |header: &str| {
            license_in(&format!(
                "---\nlanguage: en\n{header}\ntags:\n- x\n---\n# Title\nlicense: no\n"
            ))
        };
        assert_eq!(card("license: apache-2.0").as_deref(), Some("apache-2.0"));
        assert_eq!(card("license: 'mit' # as upstream").as_deref(), Some("mit"));
        assert_eq!(
            card("license:\n- mit\n- \"cc0-1.0\"").as_deref(),
            Some("mit, cc0-1.0")
        );
        assert_eq!(card("license: [mit, gpl]").as_deref(), Some("mit, gpl"));
        assert_eq!(
            card("license: other\nlicense_name: my-licence").as_deref(),
            Some("my-licence")
        );
        assert_eq!(card("license: other").as_deref(), Some("other"));
        assert_eq!(card("pipeline_tag: x"), None);
        assert_eq!(license_in("# Title\nlicense: mit\n"), None);
        assert_eq!(license_in(""), None);
    }
}

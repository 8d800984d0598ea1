//! SentencePiece's compiled normalizer, looked over before it is used: the crate that runs it trusts every index in it.
//!
//! The map is a double array over UTF-8 bytes (see [`Map`]) whose values are places in a text of replacements, each of
//! which ends with a zero byte.

use serde_json::Value;

/// What is wrong with the maps in the JSON of a normalizer, if anything is.
pub(super) fn check(normalizer: &Value) -> Result<(), String> {
    match normalizer {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value {
            Value::String(encoded) if key == "precompiled_charsmap" => {
                let bytes = decode_base64(encoded).ok_or("precompiled_charsmap: is not base64")?;
                Map::check(&bytes).map_err(|reason| format!("precompiled_charsmap: {reason}"))
            }
            value => check(value),
        }),
        Value::Array(items) => items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// The parts of a map: u32 length of the units in bytes, the units as u32, the replacements.
///
/// A unit is a node (bits 0–7 the byte that leads to it, bit 8 set where a value follows, bits 10–31 the way to its
/// children, times 256 if bit 9 is set) or a value (bit 31 set).
struct Map<'a> {
    units: &'a [[u8; 4]],
    replacements: &'a str,
}

impl Map<'_> {
    fn check(bytes: &[u8]) -> Result<(), String> {
        let (length, rest) = bytes.split_first_chunk().ok_or("has no length")?;
        let length = u32::from_le_bytes(*length) as usize / 4 * 4;
        let (units, replacements) = rest.split_at_checked(length).ok_or("is cut off")?;
        let map = Map {
            units: units.as_chunks().0,
            replacements: std::str::from_utf8(replacements)
                .map_err(|_| "its replacements are not UTF-8")?,
        };
        map.walk()
    }

    fn unit(&self, index: usize) -> Option<u32> {
        self.units.get(index).map(|unit| u32::from_le_bytes(*unit))
    }

    /// Follows every path from the root and looks at each index on it.
    fn walk(&self) -> Result<(), String> {
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![offset(self.unit(0).ok_or("is empty")?)];
        while let Some(base) = open.pop() {
            // Any byte may follow, so all of the block is looked up.
            if base | 0xFF >= self.units.len() {
                return Err(format!(
                    "a node's children are at unit {base} of {}",
                    self.units.len()
                ));
            }
            if std::mem::replace(&mut seen[base], true) {
                continue;
            }
            for byte in 1..=0xFF {
                let index = base ^ byte;
                let unit = self.unit(index).unwrap_or_default();
                if (unit & (1 << 31 | 0xFF)) as usize != byte {
                    continue;
                }
                let child = index ^ offset(unit);
                if unit & 1 << 8 != 0 {
                    self.check_value(child)?;
                }
                open.push(child);
            }
        }
        Ok(())
    }

    fn check_value(&self, index: usize) -> Result<(), String> {
        let unit = self.unit(index);
        let unit = unit.ok_or_else(|| format!("a value is at unit {index}, behind the last"))?;
        let place = (unit & !(1 << 31)) as usize;
        match self.replacements.is_char_boundary(place) {
            true => Ok(()),
            false => Err(format!("a replacement begins at byte {place}")),
        }
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 1 << 9) >> 6)
}

/// The bytes that standard base64 stands for; `None` if it is something else.
fn decode_base64(encoded: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for digit in encoded.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` becomes `b`, and nothing else.
    fn map() -> Vec<u32> {
        let mut units = vec![0; 512];
        // The root's children are around 256, those of `a` around 257, which is free.
        units[0] = 256 << 10;
        units[256 ^ 0x61] = (256 ^ 0x61 ^ 257) << 10 | 1 << 8 | 0x61;
        units[257] = 1 << 31;
        units
    }

    fn checked(units: &[u32], replacements: &[u8]) -> Result<(), String> {
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(replacements);
        Map::check(&bytes)
    }

    #[test]
    fn indices_that_lead_out_of_the_map_are_refused() {
        assert_eq!(checked(&map(), b"b\0"), Ok(()));
        let mut units = map();
        units[0] = 512 << 10;
        assert!(checked(&units, b"b\0").is_err());
        let mut units = map();
        units[257] = 1 << 31 | 3;
        assert!(checked(&units, b"b\0").is_err());
        assert!(checked(&units, "bü\0".as_bytes()).is_ok());
        units[257] = 1 << 31 | 2;
        assert!(checked(&units, "bü\0".as_bytes()).is_err());
        assert!(checked(&map(), b"\xFF\0").is_err());
        assert!(checked(&[], b"").is_err());
        assert!(Map::check(&[1, 2]).is_err());
        assert!(Map::check(&[0xFF, 0xFF, 0xFF, 0xFF, 0]).is_err());
    }

    #[test]
    fn a_map_that_leads_back_to_itself_ends() {
        let mut units = map();
        units[256 ^ 0x61] = 0x61 << 10 | 0x61;
        assert_eq!(checked(&units, b""), Ok(()));
    }

    #[test]
    fn base64_is_read() {
        assert_eq!(decode_base64("AAECAwT/").unwrap(), [0, 1, 2, 3, 4, 255]);
        assert_eq!(decode_base64("+/8=").unwrap(), [0xFB, 0xFF]);
        assert!(decode_base64("").unwrap().is_empty());
        assert_eq!(decode_base64("a b"), None);
    }
}

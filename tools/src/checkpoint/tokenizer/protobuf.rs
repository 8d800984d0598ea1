//! The encoding of Protocol Buffers, as far as reading needs it (protobuf.dev/programming-guides/encoding).

use anyhow::{Context, Result, bail};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    /// A whole number, a truth value or a member of an enumeration.
    Number(u64),
    /// Four bytes.
    Float(f32),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight bytes, which no message here has.
    Other,
}

/// The fields of a message with their numbers, in the order of the file.
///
/// # Errors
/// The bytes end within a field, or are no message.
pub(super) fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(number(&mut bytes)?),
            1 => {
                take(&mut bytes, 8)?;
                Field::Other
            }
            2 => {
                let length = number(&mut bytes)?;
                Field::Bytes(take(&mut bytes, usize::try_from(length)?)?)
            }
            5 => {
                let value = take(&mut bytes, 4)?;
                Field::Float(f32::from_le_bytes(value.try_into()?))
            }
            kind => bail!("unknown kind of field {kind}"),
        };
        fields.push((key >> 3, field));
    }
    Ok(fields)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes
        .split_at_checked(length)
        .context("ends within a field")?;
    *bytes = rest;
    Ok(taken)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn number(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for place in 0..10 {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number has more than ten bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind() {
        // The documentation's 150, a text, a float, and eight bytes.
        let bytes = [
            &[0x08, 0x96, 0x01, 0x12, 0x02][..],
            b"hi",
            &[0x1D, 0, 0, 0x80, 0xBF, 0x21, 1, 2, 3, 4, 5, 6, 7, 8],
        ]
        .concat();
        let expected = [
            (1, Field::Number(150)),
            (2, Field::Bytes(b"hi")),
            (3, Field::Float(-1.0)),
            (4, Field::Other),
        ];
        assert_eq!(fields(&bytes).unwrap(), expected);
        for end in [2, 4, 5, 6, 9, 14] {
            assert!(fields(&bytes[..end]).is_err(), "{end}");
        }
        assert!(fields(&[0x08; 1]).is_err());
        assert!(fields(&[0x0B]).is_err());
        assert!(fields(&[0xFF; 11]).is_err());
        assert_eq!(fields(&[]).unwrap(), []);
    }
}

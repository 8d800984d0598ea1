//! Base64 (RFC 4648, with padding), the way in which the OpenAI interface sends vectors.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            out.push(if digit <= chunk.len() {
                ALPHABET[(group >> (18 - 6 * digit) & 63) as usize]
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_vectors_of_the_standard() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            super::encode(&mut out, plain.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), encoded);
        }
    }

    #[test]
    fn uses_the_whole_alphabet() {
        let mut out = Vec::new();
        super::encode(&mut out, &[0xff, 0xef, 0xbe, 0x00, 0x10, 0x83]);
        assert_eq!(out, b"/+++ABCD");
    }
}

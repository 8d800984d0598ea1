//! Finished vectors in fewer bytes.

use half::f16;

/// How an element of a stored vector is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Element {
    /// IEEE single precision.
    #[default]
    Float32,
    /// IEEE half precision, rounded to nearest.
    Float16,
    /// Signed byte: the vector divided by its largest magnitude, times 127, rounded to nearest (halves away from zero).
    /// Cosines between such vectors need nothing else, since a positive factor does not change a cosine.
    Int8,
    /// One bit an element, 1 where it is above zero; eight elements a byte, the first in the highest bit, zero bits
    /// behind the last; the byte minus 128 as a signed byte (sentence-transformers' `binary`).
    Binary,
    /// The same bits as unsigned bytes (sentence-transformers' `ubinary`).
    Ubinary,
}

impl Element {
    /// Numbers in a stored vector of `dimensions` elements: bytes for the two binary kinds.
    pub fn columns(self, dimensions: usize) -> usize {
        match self {
            Element::Binary | Element::Ubinary => dimensions.div_ceil(8),
            _ => dimensions,
        }
    }

    /// NumPy's name of the stored type.
    pub fn numpy(self) -> &'static str {
        match self {
            Element::Float32 => "<f4",
            Element::Float16 => "<f2",
            Element::Int8 | Element::Binary => "|i1",
            Element::Ubinary => "|u1",
        }
    }
}

/// A vector as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    element: Element,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Stores `vector`.
    pub fn new(vector: &[f32], element: Element) -> Self {
        let bytes = match element {
            Element::Float32 => vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Element::Float16 => vector
                .iter()
                .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                .collect(),
            Element::Int8 => {
                let largest = vector
                    .iter()
                    .fold(0.0f32, |largest, x| largest.max(x.abs()));
                let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                // `as` saturates, and takes NaN to 0.
                vector
                    .iter()
                    .map(|x| (x * scale).round() as i8 as u8)
                    .collect()
            }
            Element::Binary => bits(vector).map(|byte| byte ^ 0x80).collect(),
            Element::Ubinary => bits(vector).collect(),
        };
        Encoded { element, bytes }
    }

    /// What stands in an array where there is no vector: NaN where the type has it, else zeros.
    pub fn placeholder(element: Element, dimensions: usize) -> Self {
        let bytes = match element {
            Element::Float32 => f32::NAN.to_le_bytes().repeat(dimensions),
            Element::Float16 => f16::NAN.to_le_bytes().repeat(dimensions),
            _ => vec![0; element.columns(dimensions)],
        };
        Encoded { element, bytes }
    }

    /// The stored bytes, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The stored numbers, in order.
    pub fn for_each(&self, mut visit: impl FnMut(Number)) {
        match self.element {
            Element::Float32 => self.bytes.chunks_exact(4).for_each(|x| {
                visit(Number::Float(f32::from_le_bytes([x[0], x[1], x[2], x[3]])));
            }),
            Element::Float16 => self.bytes.chunks_exact(2).for_each(|x| {
                visit(Number::Float(f16::from_le_bytes([x[0], x[1]]).to_f32()));
            }),
            Element::Int8 | Element::Binary => self
                .bytes
                .iter()
                .for_each(|x| visit(Number::Integer(i16::from(*x as i8)))),
            Element::Ubinary => self
                .bytes
                .iter()
                .for_each(|x| visit(Number::Integer(i16::from(*x)))),
        }
    }
}

/// A number of a stored vector; exact, since each stored type fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// From one of the floating-point types.
    Float(f32),
    /// From one of the byte types.
    Integer(i16),
}

fn bits(vector: &[f32]) -> impl Iterator<Item = u8> {
    vector.chunks(8).map(|chunk| {
        chunk
            .iter()
            .enumerate()
            .fold(0, |byte, (bit, x)| byte | u8::from(*x > 0.0) << (7 - bit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(vector: &[f32], element: Element) -> Vec<f32> {
        let mut numbers = Vec::new();
        Encoded::new(vector, element).for_each(|x| {
            numbers.push(match x {
                Number::Float(x) => x,
                Number::Integer(x) => f32::from(x),
            });
        });
        numbers
    }

    #[test]
    fn float32_is_exact() {
        let vector = [0.1, -0.0, f32::MIN_POSITIVE, f32::MAX];
        let encoded = Encoded::new(&vector, Element::Float32);
        assert_eq!(&encoded.bytes()[..4], &[0xcd, 0xcc, 0xcc, 0x3d]);
        assert_eq!(numbers(&vector, Element::Float32), vector);
    }

    #[test]
    fn float16_rounds_to_nearest() {
        assert_eq!(
            numbers(&[1.0, 0.1, -2049.0], Element::Float16),
            [1.0, 0.099_975_586, -2048.0]
        );
    }

    #[test]
    fn int8_reaches_127_at_the_largest_magnitude() {
        assert_eq!(
            numbers(&[0.1, -0.2, 0.0, 0.05], Element::Int8),
            [64.0, -127.0, 0.0, 32.0]
        );
        assert_eq!(numbers(&[0.0, 0.0], Element::Int8), [0.0, 0.0]);
    }

    #[test]
    fn binary_is_packed_from_the_highest_bit() {
        let vector = [0.5, -0.5, 0.0, 0.1, 0.1, -1.0, -1.0, 1.0, 1.0];
        assert_eq!(numbers(&vector, Element::Ubinary), [153.0, 128.0]);
        assert_eq!(numbers(&vector, Element::Binary), [25.0, 0.0]);
        assert_eq!(Element::Binary.columns(9), 2);
    }

    #[test]
    fn a_placeholder_has_the_size_of_a_vector() {
        for element in [
            Element::Float32,
            Element::Float16,
            Element::Int8,
            Element::Binary,
            Element::Ubinary,
        ] {
            let vector = Encoded::new(&[0.5; 13], element);
            let placeholder = Encoded::placeholder(element, 13);
            assert_eq!(vector.bytes().len(), placeholder.bytes().len());
        }
        let mut all_nan = true;
        Encoded::placeholder(Element::Float16, 3).for_each(|x| {
            all_nan &= matches!(x, Number::Float(x) if x.is_nan());
        });
        assert!(all_nan);
    }
}

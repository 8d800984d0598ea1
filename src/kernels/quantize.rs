//! From f32 to bytes, a range for each group of a row.

use super::lanes::{LANES, Lanes};
use super::math::Function;
use super::matrix::Matrix;
use super::quantized::{QuantizedViewMut, RowRange};

/// Rows that are worked at side by side: alone, each operation would wait for the one before. ARM has half as many registers a row as are
/// needed for more.
pub(super) const TOGETHER: usize = if cfg!(target_arch = "aarch64") { 2 } else { 4 };

#[inline(always)]
pub(crate) fn quantize_rows<L: Lanes>(
    lanes: L,
    x: Matrix<'_>,
    input_scale: Option<&[f32]>,
    mut out: QuantizedViewMut<'_>,
) {
    let mut row = 0;
    while L::SIDE_BY_SIDE && row + TOGETHER <= x.rows() {
        let rows: [_; TOGETHER] = std::array::from_fn(|index| x.row(row + index));
        quantize_some(lanes, rows, input_scale, &mut out, row);
        row += TOGETHER;
    }
    for row in row..x.rows() {
        quantize_some(lanes, [x.row(row)], input_scale, &mut out, row);
    }
}

/// Rows `first`, `first` + 1, … of `out`.
#[inline(always)]
pub(super) fn quantize_some<L: Lanes, const N: usize>(
    lanes: L,
    x: [&[f32]; N],
    input_scale: Option<&[f32]>,
    out: &mut QuantizedViewMut<'_>,
    first: usize,
) {
    match input_scale {
        Some(scale) => groups(lanes, x, Scaled(scale), out, first),
        None => groups(lanes, x, Plain, out, first),
    }
}

#[inline(always)]
fn groups<L: Lanes, const N: usize>(
    lanes: L,
    x: [&[f32]; N],
    factor: impl Factor,
    out: &mut QuantizedViewMut<'_>,
    first: usize,
) {
    let (k, group) = (out.k(), out.group());
    if k == 0 {
        for row in first..first + N {
            out.row(row).1.fill(RowRange {
                scale: 0.0,
                low: 0.0,
            });
        }
        return;
    }
    for (index, begin) in (0..k).step_by(group.min(k)).enumerate() {
        let end = k.min(begin.saturating_add(group));
        let mut values = x;
        for x in &mut values {
            *x = &x[begin..end];
        }
        let factor = factor.from(begin, end);
        let extremes = extremes(lanes, values, factor);
        for i in 0..N {
            let (bytes, ranges) = out.row(first + i);
            let end = bytes.len().min(end.next_multiple_of(64));
            ranges[index] = quantize(
                lanes,
                values[i],
                factor,
                extremes[i],
                &mut bytes[begin..end],
            );
        }
    }
}

/// Rows `first`, `first` + 1, … of `out`, one group each: input_scale·function(x), which is left in `x`.
#[inline(always)]
pub(super) fn activate_quantize_some<L: Lanes, const N: usize>(
    lanes: L,
    function: impl Function,
    mut x: [&mut [f32]; N],
    input_scale: &[f32],
    out: &mut QuantizedViewMut<'_>,
    first: usize,
) {
    let extremes = activate(lanes, function, &mut x, input_scale);
    for i in 0..N {
        let (bytes, ranges) = out.row(first + i);
        ranges[0] = quantize(lanes, x[i], Plain, extremes[i], bytes);
    }
}

/// x = input_scale·function(x) in `N` rows, and their extremes.
#[inline(always)]
fn activate<L: Lanes, const N: usize>(
    lanes: L,
    function: impl Function,
    x: &mut [&mut [f32]; N],
    input_scale: &[f32],
) -> [Extremes; N] {
    let length = input_scale.len();
    for x in &*x {
        assert!(x.len() == length);
    }
    let mut seen = Seen::<_, N>::nothing(lanes);
    let (scales, scale_rest) = input_scale.as_chunks::<LANES>();
    for (chunk, scale) in scales.iter().enumerate() {
        let scale = lanes.load(scale);
        let mut y = [lanes.zero(); N];
        for i in 0..N {
            // SAFETY: all rows are as long as the scales.
            y[i] = lanes.load(unsafe { x[i].as_chunks::<LANES>().0.get_unchecked(chunk) });
        }
        y = function.apply_all(lanes, y);
        for i in 0..N {
            y[i] = lanes.mul(y[i], scale);
            // SAFETY: as above.
            lanes.store(y[i], unsafe {
                x[i].as_chunks_mut::<LANES>().0.get_unchecked_mut(chunk)
            });
        }
        seen.see(lanes, y);
    }
    if !scale_rest.is_empty() {
        let mut last = [lanes.zero(); N];
        for i in 0..N {
            let rest = &mut x[i][length - scale_rest.len()..];
            let y = function.apply(lanes, lanes.load_partial(rest, 0.0));
            last[i] = lanes.mul(y, lanes.load_partial(scale_rest, 1.0));
            lanes.store_partial(last[i], rest);
        }
        seen.see_first(lanes, last, scale_rest.len());
    }
    seen.extremes(lanes, |row| Plain.is_finite(&x[row][..]))
}

/// What a row is multiplied by before it is quantized.
trait Factor: Copy {
    /// That of some columns.
    fn from(self, begin: usize, end: usize) -> Self;
    fn chunk<L: Lanes>(self, lanes: L, x: L::F, chunk: usize) -> L::F;
    fn rest<L: Lanes>(self, lanes: L, x: L::F, from: usize) -> L::F;
    /// Whether all products with a row are.
    fn is_finite(self, x: &[f32]) -> bool;
}

#[derive(Clone, Copy)]
struct Plain;

impl Factor for Plain {
    #[inline(always)]
    fn from(self, _: usize, _: usize) -> Self {
        self
    }
    #[inline(always)]
    fn chunk<L: Lanes>(self, _: L, x: L::F, _: usize) -> L::F {
        x
    }
    #[inline(always)]
    fn rest<L: Lanes>(self, _: L, x: L::F, _: usize) -> L::F {
        x
    }
    fn is_finite(self, x: &[f32]) -> bool {
        x.iter().all(|x| x.is_finite())
    }
}

#[derive(Clone, Copy)]
struct Scaled<'a>(&'a [f32]);

impl Factor for Scaled<'_> {
    #[inline(always)]
    fn from(self, begin: usize, end: usize) -> Self {
        Scaled(&self.0[begin..end])
    }
    #[inline(always)]
    fn chunk<L: Lanes>(self, lanes: L, x: L::F, chunk: usize) -> L::F {
        lanes.mul(x, lanes.load(&self.0.as_chunks::<LANES>().0[chunk]))
    }
    #[inline(always)]
    fn rest<L: Lanes>(self, lanes: L, x: L::F, from: usize) -> L::F {
        lanes.mul(x, lanes.load_partial(&self.0[from..], 1.0))
    }
    fn is_finite(self, x: &[f32]) -> bool {
        x.iter()
            .zip(self.0)
            .all(|(x, factor)| (x * factor).is_finite())
    }
}

/// The least and the largest of some values, unless one of them is infinite or not a number.
#[derive(Clone, Copy, Default)]
struct Extremes {
    low: f32,
    high: f32,
    finite: bool,
}

/// The extremes of what was seen in each lane of `N` rows.
struct Seen<F, const N: usize> {
    low: [F; N],
    high: [F; N],
    /// A sum of products of all that was seen: finite only if all of that is.
    poison: F,
}

impl<F: Copy, const N: usize> Seen<F, N> {
    #[inline(always)]
    fn nothing<L: Lanes<F = F>>(lanes: L) -> Self {
        Seen {
            low: [lanes.splat(f32::INFINITY); N],
            high: [lanes.splat(f32::NEG_INFINITY); N],
            // A sum near zero might be subnormal, which takes CPUs long.
            poison: lanes.splat(1.0),
        }
    }

    #[inline(always)]
    fn see<L: Lanes<F = F>>(&mut self, lanes: L, x: [F; N]) {
        for i in 0..N {
            self.low[i] = lanes.min(x[i], self.low[i]);
            self.high[i] = lanes.max(x[i], self.high[i]);
            // Two rows with each other: half as many operations. A single one with zero.
            if i % 2 == 1 {
                self.poison = lanes.fma(x[i - 1], x[i], self.poison);
            } else if i + 1 == N {
                self.poison = lanes.fma(x[i], lanes.zero(), self.poison);
            }
        }
    }

    /// The first `count` lanes; the first of them stands for the others.
    #[inline(always)]
    fn see_first<L: Lanes<F = F>>(&mut self, lanes: L, mut x: [F; N], count: usize) {
        for x in &mut x {
            let mut padded = [0.0; LANES];
            lanes.store(*x, &mut padded);
            let first = padded[0];
            padded[count..].fill(first);
            *x = lanes.load(&padded);
        }
        self.see(lanes, x);
    }

    /// `is_finite` decides for a row where the products are not: large ones overflow, and a row may have been another's neighbour.
    #[inline(always)]
    fn extremes<L: Lanes<F = F>>(
        &self,
        lanes: L,
        is_finite: impl Fn(usize) -> bool,
    ) -> [Extremes; N] {
        let all_finite = lanes.is_zero(lanes.mul(self.poison, lanes.zero()));
        let mut found = [Extremes::default(); N];
        for (row, found) in found.iter_mut().enumerate() {
            *found = Extremes {
                low: lanes.minimum(self.low[row]),
                high: lanes.maximum(self.high[row]),
                finite: all_finite || is_finite(row),
            };
        }
        found
    }
}

#[inline(always)]
fn extremes<L: Lanes, const N: usize>(
    lanes: L,
    x: [&[f32]; N],
    factor: impl Factor,
) -> [Extremes; N] {
    let length = x[0].len();
    let mut seen = Seen::<_, N>::nothing(lanes);
    let mut chunks = [x[0].as_chunks::<LANES>().0; N];
    for i in 0..N {
        chunks[i] = &x[i].as_chunks::<LANES>().0[..length / LANES];
    }
    let mut chunk = 0;
    while chunk < length / LANES {
        let mut values = [lanes.zero(); N];
        for i in 0..N {
            values[i] = factor.chunk(lanes, lanes.load(&chunks[i][chunk]), chunk);
        }
        seen.see(lanes, values);
        chunk += 1;
    }
    let last = length / LANES * LANES;
    if last < length {
        let mut values = [lanes.zero(); N];
        for i in 0..N {
            values[i] = factor.rest(lanes, lanes.load_partial(&x[i][last..], 0.0), last);
        }
        seen.see_first(lanes, values, length - last);
    }
    seen.extremes(lanes, |row| factor.is_finite(x[row]))
}

/// u = round(x·factor·inverse − low·inverse) with inverse = 255/(high − low), saturated: where low·inverse has no room for the
/// digits of a step, the difference may leave 0…255, by no more than x's own last digit. Constant values give zeros and scale 0, an
/// infinite or NaN one gives zeros and a range of NaN, which makes every output of its row NaN.
#[inline(always)]
fn quantize<L: Lanes>(
    lanes: L,
    x: &[f32],
    factor: impl Factor,
    Extremes { low, high, finite }: Extremes,
    out: &mut [u8],
) -> RowRange {
    let span = high - low;
    if !(finite && span.is_finite()) {
        out.fill(0);
        return RowRange {
            scale: f32::NAN,
            low: f32::NAN,
        };
    }
    let scale = span / 255.0;
    // A span too small for its inverse is as good as none.
    let inverse = 255.0 / span;
    if !inverse.is_finite() {
        out.fill(0);
        return RowRange { scale: 0.0, low };
    }
    let (chunks, rest) = x.as_chunks::<LANES>();
    let (inverse, offset) = (lanes.splat(inverse), lanes.splat(-(low * inverse)));
    let bytes = out.as_chunks_mut::<LANES>().0;
    let (fours, last) = chunks.as_chunks::<4>();
    let four_bytes = bytes.as_flattened_mut().as_chunks_mut::<{ 4 * LANES }>().0;
    for (i, (four, to)) in fours.iter().zip(four_bytes).enumerate() {
        let mut u = [lanes.splat_int(0); 4];
        for j in 0..4 {
            let x = factor.chunk(lanes, lanes.load(&four[j]), 4 * i + j);
            u[j] = lanes.round(lanes.fma(x, inverse, offset));
        }
        lanes.store_four_bytes(u, to);
    }
    let first = chunks.len() - last.len();
    for (i, (chunk, to)) in last.iter().zip(&mut bytes[first..]).enumerate() {
        let x = factor.chunk(lanes, lanes.load(chunk), first + i);
        let u = lanes.round(lanes.fma(x, inverse, offset));
        lanes.store_bytes(u, to);
    }
    if !rest.is_empty() {
        let x = factor.rest(lanes, lanes.load_partial(rest, 0.0), x.len() - rest.len());
        let u = lanes.round(lanes.fma(x, inverse, offset));
        let mut all = [0; LANES];
        lanes.store_bytes(u, &mut all);
        bytes[chunks.len()][..rest.len()].copy_from_slice(&all[..rest.len()]);
    }
    RowRange { scale, low }
}

//! From f32 to bytes, a range for each group of a row.

use super::lanes::{LANES, Lanes};
use super::math::Function;
use super::matrix::Matrix;
use super::quantized::{QuantizedViewMut, RowRange};

/// Rows whose extremes are sought side by side: alone, each operation would wait for the one before.
pub(super) const TOGETHER: usize = 4;

#[inline(always)]
pub(crate) fn quantize_rows<L: Lanes>(
    lanes: L,
    x: Matrix<'_>,
    input_scale: Option<&[f32]>,
    mut out: QuantizedViewMut<'_>,
) {
    let mut row = 0;
    while L::SIDE_BY_SIDE && row + TOGETHER <= x.rows() {
        let rows = [x.row(row), x.row(row + 1), x.row(row + 2), x.row(row + 3)];
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
    let mut seen = [Seen::nothing(lanes); N];
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
            let y = lanes.mul(y[i], scale);
            seen[i].see(lanes, y);
            // SAFETY: as above.
            lanes.store(y, unsafe {
                x[i].as_chunks_mut::<LANES>().0.get_unchecked_mut(chunk)
            });
        }
    }
    if !scale_rest.is_empty() {
        for i in 0..N {
            let rest = &mut x[i][length - scale_rest.len()..];
            let y = function.apply(lanes, lanes.load_partial(rest, 0.0));
            let y = lanes.mul(y, lanes.load_partial(scale_rest, 1.0));
            lanes.store_partial(y, rest);
            seen[i].see_first(lanes, y, rest.len());
        }
    }
    let mut found = [Extremes::default(); N];
    for i in 0..N {
        found[i] = seen[i].extremes(lanes);
    }
    found
}

/// What a row is multiplied by before it is quantized.
trait Factor: Copy {
    /// That of some columns.
    fn from(self, begin: usize, end: usize) -> Self;
    fn chunk<L: Lanes>(self, lanes: L, x: L::F, chunk: usize) -> L::F;
    fn rest<L: Lanes>(self, lanes: L, x: L::F, from: usize) -> L::F;
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
}

/// The least and the largest of some values, unless one of them is infinite or not a number.
#[derive(Clone, Copy, Default)]
struct Extremes {
    low: f32,
    high: f32,
    finite: bool,
}

/// The extremes of what was seen in each lane.
#[derive(Clone, Copy)]
struct Seen<F> {
    low: F,
    high: F,
    /// 0·x is NaN for what is not finite, and stays.
    poison: F,
}

impl<F: Copy> Seen<F> {
    #[inline(always)]
    fn nothing<L: Lanes<F = F>>(lanes: L) -> Self {
        Seen {
            low: lanes.splat(f32::INFINITY),
            high: lanes.splat(f32::NEG_INFINITY),
            poison: lanes.zero(),
        }
    }

    #[inline(always)]
    fn see<L: Lanes<F = F>>(&mut self, lanes: L, x: F) {
        self.low = lanes.min(x, self.low);
        self.high = lanes.max(x, self.high);
        self.poison = lanes.fma(x, lanes.zero(), self.poison);
    }

    /// The first `count` lanes; the first of them stands for the others.
    #[inline(always)]
    fn see_first<L: Lanes<F = F>>(&mut self, lanes: L, x: F, count: usize) {
        let mut padded = [0.0; LANES];
        lanes.store(x, &mut padded);
        let first = padded[0];
        padded[count..].fill(first);
        self.see(lanes, lanes.load(&padded));
    }

    #[inline(always)]
    fn extremes<L: Lanes<F = F>>(&self, lanes: L) -> Extremes {
        Extremes {
            low: lanes.minimum(self.low),
            high: lanes.maximum(self.high),
            finite: lanes.is_zero(self.poison),
        }
    }
}

#[inline(always)]
fn extremes<L: Lanes, const N: usize>(
    lanes: L,
    x: [&[f32]; N],
    factor: impl Factor,
) -> [Extremes; N] {
    let length = x[0].len();
    let mut seen = [Seen::nothing(lanes); N];
    let mut chunks = [x[0].as_chunks::<LANES>().0; N];
    for i in 0..N {
        chunks[i] = &x[i].as_chunks::<LANES>().0[..length / LANES];
    }
    let mut chunk = 0;
    while chunk < length / LANES {
        for i in 0..N {
            let x = factor.chunk(lanes, lanes.load(&chunks[i][chunk]), chunk);
            seen[i].see(lanes, x);
        }
        chunk += 1;
    }
    let last = length / LANES * LANES;
    let mut found = [Extremes::default(); N];
    for i in 0..N {
        let rest = &x[i][last..];
        if !rest.is_empty() {
            let x = factor.rest(lanes, lanes.load_partial(rest, 0.0), last);
            seen[i].see_first(lanes, x, rest.len());
        }
        found[i] = seen[i].extremes(lanes);
    }
    found
}

/// round((x − low)·inverse)
#[inline(always)]
fn steps<L: Lanes>(lanes: L, x: L::F, low: L::F, inverse: L::F) -> L::I {
    lanes.round(lanes.mul(lanes.sub(x, low), inverse))
}

/// u = round((x·factor − low)·(255/(high − low))); constant values give zeros and scale 0, an infinite or NaN one gives
/// zeros and a range of NaN, which makes every output of its row NaN.
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
    let (low_lanes, inverse) = (lanes.splat(low), lanes.splat(inverse));
    let bytes = out.as_chunks_mut::<LANES>().0;
    let (fours, last) = chunks.as_chunks::<4>();
    let four_bytes = bytes.as_flattened_mut().as_chunks_mut::<{ 4 * LANES }>().0;
    for (i, (four, to)) in fours.iter().zip(four_bytes).enumerate() {
        let mut u = [lanes.splat_int(0); 4];
        for j in 0..4 {
            let x = factor.chunk(lanes, lanes.load(&four[j]), 4 * i + j);
            u[j] = steps(lanes, x, low_lanes, inverse);
        }
        lanes.store_four_bytes(u, to);
    }
    let first = chunks.len() - last.len();
    for (i, (chunk, to)) in last.iter().zip(&mut bytes[first..]).enumerate() {
        let x = factor.chunk(lanes, lanes.load(chunk), first + i);
        let u = steps(lanes, x, low_lanes, inverse);
        lanes.store_bytes(u, to);
    }
    if !rest.is_empty() {
        let x = factor.rest(lanes, lanes.load_partial(rest, 0.0), x.len() - rest.len());
        let u = steps(lanes, x, low_lanes, inverse);
        let mut all = [0; LANES];
        lanes.store_bytes(u, &mut all);
        bytes[chunks.len()][..rest.len()].copy_from_slice(&all[..rest.len()]);
    }
    RowRange { scale, low }
}

//! How an operation is cut into parts for the threads of a team.

use crate::kernels::{MatrixMut, Team};
use std::ops::Range;

/// Multiply-adds of a matrix product below which another thread is not worth its fork and join.
pub(super) const LEAST_PRODUCTS: usize = 1 << 20;

/// The same for values that pass through quantization, LayerNorm or softmax.
pub(super) const LEAST_VALUES: usize = 1 << 13;

/// Parts for an operation of so much work: one for each thread, unless they would be smaller than `least`.
pub(super) fn parts(team: &Team, work: usize, least: usize) -> usize {
    (work / least).clamp(1, team.members())
}

/// Cuts `0..length` into at most `count` ranges of about the same length that begin at multiples of `unit`.
pub(super) fn ranges(
    length: usize,
    unit: usize,
    count: usize,
) -> impl Iterator<Item = Range<usize>> {
    let units = length.div_ceil(unit);
    let count = count.min(units);
    let bound = move |index: usize| length.min(units * index / count * unit);
    (0..count).map(move |index| bound(index)..bound(index + 1))
}

/// The columns of such ranges, each with its view.
pub(super) fn columns_of(
    out: MatrixMut<'_>,
    unit: usize,
    count: usize,
) -> impl Iterator<Item = (Range<usize>, MatrixMut<'_>)> {
    let mut rest = out;
    let columns = rest.columns();
    ranges(columns, unit, count).map(move |range| {
        let empty = MatrixMut::new(&mut [], 0, 0, 0);
        let (now, later) = std::mem::replace(&mut rest, empty).split_columns(range.len());
        rest = later;
        (range, now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_length_in_units() {
        for length in [0, 1, 15, 16, 17, 100, 384] {
            for unit in [1, 16, 26] {
                for count in 1..9 {
                    let ranges: Vec<_> = ranges(length, unit, count).collect();
                    assert!(ranges.len() <= count);
                    assert!(ranges.iter().all(|r| !r.is_empty() && r.start % unit == 0));
                    assert!(ranges.into_iter().flatten().eq(0..length));
                }
            }
        }
    }

    #[test]
    fn a_part_is_worth_its_thread() {
        let mut team = Team::default();
        team.resize(4);
        assert_eq!(parts(&team, 0, 10), 1);
        assert_eq!(parts(&team, 29, 10), 2);
        assert_eq!(parts(&team, 1000, 10), 4);
    }
}

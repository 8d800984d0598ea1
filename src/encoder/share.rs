//! How an operation is cut into parts for the threads of a team.

use crate::kernels::{MatrixMut, QuantizedViewMut, Team};
use std::ops::Range;

/// Multiply-adds of a matrix product below which another thread is not worth its fork and join.
pub(super) const LEAST_PRODUCTS: usize = 1 << 20;

/// Fewer rows are multiplied in about the time of so many: their weights have to be read, and got ready, all the same.
const LOW_ROWS: usize = 16;

/// The same for values that pass through quantization, LayerNorm or softmax.
pub(super) const LEAST_VALUES: usize = 1 << 13;

/// Parts for an operation of so much work: one for each thread, unless they would be smaller than `least`.
pub(super) fn parts(team: &Team, work: usize, least: usize) -> usize {
    (work / least).clamp(1, team.members())
}

/// Parts for the product of some rows with so many weights.
pub(super) fn product_parts(team: &Team, rows: usize, weights: usize) -> usize {
    parts(team, rows.max(LOW_ROWS) * weights, LEAST_PRODUCTS)
}

/// Cuts `0..length` into at most `count` ranges of about the same length that begin at multiples of `unit`.
pub(super) fn ranges(
    length: usize,
    unit: usize,
    count: usize,
) -> impl Iterator<Item = Range<usize>> + Clone {
    let units = length.div_ceil(unit);
    let count = count.min(units);
    let bound = move |index: usize| length.min(units * index / count * unit);
    (0..count).map(move |index| bound(index)..bound(index + 1))
}

/// A view for writing that can be cut where a range of rows or columns ends.
pub(super) trait Cut: Sized {
    /// What is before `row`, and the rest.
    fn cut_rows(self, row: usize) -> (Self, Self);
    /// What is before `column`, and the rest.
    fn cut_columns(self, column: usize) -> (Self, Self);
}

impl Cut for MatrixMut<'_> {
    fn cut_rows(self, row: usize) -> (Self, Self) {
        self.split_rows(row)
    }
    fn cut_columns(self, column: usize) -> (Self, Self) {
        self.split_columns(column)
    }
}

impl Cut for QuantizedViewMut<'_> {
    fn cut_rows(self, row: usize) -> (Self, Self) {
        self.split_rows(row)
    }
    // The rows of an f16 layer have no bytes.
    fn cut_columns(self, column: usize) -> (Self, Self) {
        let column = column.min(self.k());
        self.split_columns(column)
    }
}

/// The rows of successive ranges from 0 on.
pub(super) fn rows_of<T: Cut>(
    view: T,
    ranges: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = T> {
    pieces(view, ranges, T::cut_rows)
}

/// The columns of successive ranges from 0 on.
pub(super) fn columns_of<T: Cut>(
    view: T,
    ranges: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = T> {
    pieces(view, ranges, T::cut_columns)
}

fn pieces<T>(
    view: T,
    ranges: impl Iterator<Item = Range<usize>>,
    cut: fn(T, usize) -> (T, T),
) -> impl Iterator<Item = T> {
    let mut rest = Some(view);
    ranges.map_while(move |range| {
        let (now, later) = cut(rest.take()?, range.len());
        rest = Some(later);
        Some(now)
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
        assert_eq!(product_parts(&team, 1, 384 * 384), 2);
        assert_eq!(product_parts(&team, 16, 384 * 384), 2);
        assert_eq!(product_parts(&team, 24, 384 * 384), 3);
    }

    #[test]
    fn views_are_cut_at_the_ranges() {
        let mut values: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let view = MatrixMut::new(&mut values, 6, 10, 10);
        for (range, mut rows) in ranges(6, 1, 4).zip(rows_of(view, ranges(6, 1, 4))) {
            assert_eq!((rows.rows(), rows.columns()), (range.len(), 10));
            assert_eq!(rows.row(0)[0], range.start as f32 * 10.0);
        }
        let view = MatrixMut::new(&mut values, 6, 10, 10);
        for (range, mut columns) in ranges(10, 2, 3).zip(columns_of(view, ranges(10, 2, 3))) {
            assert_eq!((columns.rows(), columns.columns()), (6, range.len()));
            assert_eq!(columns.row(5)[0], 50.0 + range.start as f32);
        }
    }
}

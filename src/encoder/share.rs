//! How an operation is cut into parts for the threads of a team.

use crate::kernels::{MatrixMut, QuantizedViewMut, Team};
use std::ops::Range;

/// Multiply-adds of a matrix product below which another thread is not worth its fork and join.
pub(super) const LEAST_PRODUCTS: usize = 1 << 19;

/// The same for values that pass through quantization, LayerNorm or softmax.
pub(super) const LEAST_VALUES: usize = 1 << 13;

/// Fewer rows are multiplied in about the time of so many: their weights have to be read, and got ready, all the same.
const LOW_ROWS: usize = 16;

/// Rows at whose multiples a product is cut: those of a tile register of AMX. Others level their tiles within a part.
const ROWS: usize = 16;

/// Columns at whose multiples a product's outputs are cut: two panels, the most of AMX's tiles with more than sixteen rows. Others have
/// four; that parts are of one size is worth more (measured with AVX2).
pub(super) const COLUMNS: usize = 32;

/// Parts for an operation of so much work: one for each thread, unless they would be smaller than `least`.
pub(super) fn parts(team: &Team, work: usize, least: usize) -> usize {
    (work / least).clamp(1, team.members())
}

/// Parts for the product of some rows with so many weights.
pub(super) fn product_parts(team: &Team, rows: usize, weights: usize) -> usize {
    parts(team, rows.max(LOW_ROWS) * weights, LEAST_PRODUCTS)
}

/// How the outputs of a product, `[rows, columns]`, are cut: by columns, and by rows too where whole units of columns would leave threads
/// with less to do than others, or nothing.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    rows: usize,
    row_parts: usize,
    columns: usize,
    unit: usize,
    column_parts: usize,
}

impl Grid {
    /// At most `count` parts, whose columns begin at multiples of `unit`: of all ways that whose largest part takes the least time. A part
    /// takes as if it had `LOW_ROWS` more rows, for its weights.
    pub(super) fn new(rows: usize, (columns, unit): (usize, usize), count: usize) -> Self {
        let largest =
            |length: usize, unit: usize, parts| length.div_ceil(unit).div_ceil(parts) * unit;
        let (mut least, mut row_parts) = (usize::MAX, 1);
        for parts in 1..=count.min(rows.div_ceil(ROWS)) {
            let height = largest(rows, ROWS, parts).min(rows) + LOW_ROWS;
            let time = height * largest(columns, unit, count / parts);
            if time < least {
                (least, row_parts) = (time, parts);
            }
        }
        Grid {
            rows,
            row_parts,
            columns,
            unit,
            column_parts: columns.div_ceil(unit).clamp(1, count / row_parts),
        }
    }

    /// Whether parts have but some of the rows.
    pub(super) fn cuts_rows(&self) -> bool {
        self.row_parts > 1
    }

    /// The rows and columns of a part, unless there are not so many: band by band.
    fn part(&self, index: usize) -> Option<(Range<usize>, Range<usize>)> {
        let (band, beside) = (index / self.column_parts, index % self.column_parts);
        let rows = ranges(self.rows, ROWS, self.row_parts).nth(band)?;
        let columns = ranges(self.columns, self.unit, self.column_parts).nth(beside)?;
        Some((rows, columns))
    }

    /// The rows and columns of each part, and what is there of a view.
    pub(super) fn parts_of<T: Cut>(
        self,
        view: T,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>, T)> {
        let (mut below, mut beside) = (Some(view), None);
        (0..).map_while(move |index| {
            let (rows, columns) = self.part(index)?;
            if columns.start == 0 {
                let (band, later) = below.take()?.cut_rows(rows.len());
                (beside, below) = (Some(band), Some(later));
            }
            let (part, later) = beside.take()?.cut_columns(columns.len());
            beside = Some(later);
            Some((rows, columns, part))
        })
    }
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
    // What an int8 layer does not keep in f32 has no rows.
    fn cut_rows(self, row: usize) -> (Self, Self) {
        let row = row.min(self.rows());
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

/// Views of the same rows and columns.
impl<A: Cut, B: Cut> Cut for (A, B) {
    fn cut_rows(self, row: usize) -> (Self, Self) {
        let (a, b) = (self.0.cut_rows(row), self.1.cut_rows(row));
        ((a.0, b.0), (a.1, b.1))
    }
    fn cut_columns(self, column: usize) -> (Self, Self) {
        let (a, b) = (self.0.cut_columns(column), self.1.cut_columns(column));
        ((a.0, b.0), (a.1, b.1))
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
    fn parts_of_a_product_are_of_about_one_size() {
        let cuts = |rows, columns, count| {
            let grid = Grid::new(rows, columns, count);
            (grid.row_parts, grid.column_parts)
        };
        // A feed-forward's first half, whose outputs go by groups of 384.
        assert_eq!(cuts(128, (1536, 384), 4), (1, 4));
        assert_eq!(cuts(128, (1536, 384), 8), (2, 4));
        assert_eq!(cuts(192, (1536, 384), 3), (3, 1));
        // Six units for four threads.
        assert_eq!(cuts(128, (384, 64), 4), (2, 2));
        assert_eq!(cuts(128, (384, 64), 1), (1, 1));
        // Twelve heads.
        assert_eq!(cuts(512, (384, 32), 4), (1, 4));
        assert_eq!(cuts(512, (384, 32), 8), (2, 4));
        // A few rows stay together: the weights would be read again.
        assert_eq!(cuts(32, (384, 64), 4), (1, 4));
        assert_eq!(cuts(0, (384, 64), 4), (1, 4));
    }

    #[test]
    fn parts_of_a_product_cover_it() {
        for rows in [1, 31, 64, 100, 512] {
            for count in 1..17 {
                let (n, unit) = (390, 64);
                let grid = Grid::new(rows, (n, unit), count);
                let mut values = vec![0.0; rows * n];
                let parts = grid.parts_of(MatrixMut::new(&mut values, rows, n, n));
                for (rows, columns, mut part) in parts {
                    assert_eq!((part.rows(), part.columns()), (rows.len(), columns.len()));
                    assert!(rows.start % ROWS == 0 && columns.start % unit == 0);
                    (0..part.rows())
                        .for_each(|row| part.row(row).iter_mut().for_each(|y| *y += 1.0));
                }
                assert!(
                    values.iter().all(|&y| y == 1.0),
                    "{rows} rows, {count} parts"
                );
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
        assert_eq!(product_parts(&team, 1, 192 * 384), 2);
        assert_eq!(product_parts(&team, 16, 192 * 384), 2);
        assert_eq!(product_parts(&team, 24, 192 * 384), 3);
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

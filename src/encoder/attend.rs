//! Queries, keys and values, and attention among them, shared by the threads of a team.
//!
//! A thread computes those of its own heads and goes on to their attention. Where that would leave threads fewer heads than others, all
//! queries, keys and values come first, cut as any product, and then attention, cut by heads and queries.

use super::attention;
use super::layer::MemberScratch;
use super::linear::Input;
use super::profile::Stage;
use super::share::{self, Grid, columns_of, ranges};
use super::tensors::LinearWeights;
use super::{Forward, SequencesView};
use crate::format::header::Config;
use crate::kernels::{Activation, Epilogue, Matrix, MatrixMut, Team};

/// Queries, keys and values that a thread computes before it goes on to their attention: 256 KiB, unless
/// `LEAST_COLUMNS` of each have more, so that they, their inputs and the weights stay in the second-level cache together.
const QUERY_KEY_VALUE_VALUES: usize = 1 << 16;

/// Whole tiles of every kernel.
const LEAST_COLUMNS: usize = 64;

/// Outputs of a panel of weights, at whose multiples a layer's may be cut.
const PANEL: usize = 16;

const STORE: Epilogue = Epilogue::Store(Activation::Identity);

/// Which tokens look at those of their sequence.
#[derive(Clone, Copy)]
pub(super) enum Queries<'a> {
    All,
    /// The first of each sequence.
    First(Input<'a>),
}

impl Queries<'_> {
    fn are_firsts(self) -> bool {
        matches!(self, Queries::First(_))
    }
}

/// Width of the fewest heads whose weights are whole panels, if such heads make up a layer.
fn heads_apart(config: &Config) -> Option<usize> {
    let head_size = config.hidden_size / config.num_attention_heads;
    let doublings = PANEL.trailing_zeros();
    let width = head_size << (doublings - head_size.trailing_zeros().min(doublings));
    config.hidden_size.is_multiple_of(width).then_some(width)
}

impl Forward<'_> {
    /// Queries, keys, values by `weights`, and attention of every head, into `context`, `[queries, hidden_size]`.
    pub(super) fn attend(
        &self,
        weights: &LinearWeights<'_>,
        sequences: SequencesView<'_>,
        queries: Queries<'_>,
        x: Input<'_>,
        (team, members): (&mut Team, &mut [MemberScratch]),
        context: &mut [f32],
    ) {
        let config = &self.file.header().config;
        let (tokens, width) = (x.rows.rows(), config.hidden_size);
        // Those of queries, keys and values, and as many more as attention multiplies.
        let multiplied = width * (3 * width + 2 * tokens);
        let count = share::product_parts(team, tokens, multiplied);
        let context = MatrixMut::new(context, context.len() / width, width, width);
        let of_heads = |unit| Grid::new(tokens, (width, unit), count);
        let apart = heads_apart(config).filter(|&unit| !of_heads(unit).cuts_rows());
        let Some(unit) = apart else {
            let x = (queries, x);
            return self.attend_after_all(weights, sequences, x, count, (team, members), context);
        };
        let fitting = QUERY_KEY_VALUE_VALUES / (3 * tokens.max(1));
        let chunk = (fitting / LEAST_COLUMNS).max(1) * LEAST_COLUMNS;
        let chunk = (chunk / unit).max(1) * unit;
        let columns = ranges(width, unit, count);
        let parts = columns.clone().zip(columns_of(context, columns));
        team.share(parts.zip(members), |((columns, mut context), member)| {
            for first in columns.clone().step_by(chunk) {
                let columns = first..columns.end.min(first + chunk);
                let n = columns.len();
                member.query_key_value.grow(tokens * 3 * n);
                let all = &mut member.query_key_value[..tokens * 3 * n];
                let all = MatrixMut::new(all, tokens, 3 * n, 3 * n);
                let values = &mut member.values;
                let part =
                    |index: usize| index * width + columns.start..index * width + columns.end;
                let (q, later) = all.split_columns(n);
                let (k, v) = later.split_columns(n);
                match queries {
                    Queries::All => {
                        let parts = [(part(0), q), (part(1), k), (part(2), v)];
                        weights.forward_ranges(self.kernel, x, values, parts);
                    }
                    Queries::First(first) => {
                        let q = q.split_rows(context.rows()).0;
                        weights.forward(self.kernel, first, part(0), STORE, values, q);
                        let parts = [(part(1), k), (part(2), v)];
                        weights.forward_ranges(self.kernel, x, values, parts);
                    }
                }
                member.clock.lap(Stage::QueryKeyValue);
                let all = Matrix::new(&member.query_key_value, tokens, 3 * n, 3 * n);
                let parts = [0, 1, 2].map(|index| all.column_range(index * n..(index + 1) * n));
                let (out, later) = context.split_columns(n);
                context = later;
                let rows = 0..out.rows();
                let scratch = &mut member.attention;
                let asked = (queries.are_firsts(), rows, columns);
                attention::run(self, sequences, asked, parts, scratch, out);
                member.clock.lap(Stage::Attention);
            }
        });
    }

    /// The same with attention after all queries, keys and values, whose weights need not be whole panels.
    fn attend_after_all(
        &self,
        weights: &LinearWeights<'_>,
        sequences: SequencesView<'_>,
        (queries, x): (Queries<'_>, Input<'_>),
        count: usize,
        (team, members): (&mut Team, &mut [MemberScratch]),
        context: MatrixMut<'_>,
    ) {
        let config = &self.file.header().config;
        let (tokens, width) = (x.rows.rows(), config.hidden_size);
        // Rows of queries before those of all tokens, which then have no queries but what a panel holds beside keys.
        let (firsts, skipped) = match queries {
            Queries::All => (0, 0),
            Queries::First(_) => (context.rows(), width / PANEL * PANEL),
        };
        let (rows, n) = (firsts + tokens, 3 * width);
        let mut all = std::mem::take(&mut members[0].query_key_value);
        all.grow(rows * n);
        let (q, out) = MatrixMut::new(&mut all, rows, n, n).split_rows(firsts);
        if let Queries::First(first) = queries {
            let q = q.split_columns(width.next_multiple_of(PANEL).min(n)).0;
            self.product(weights, first, (0, STORE), (team, members), q);
        }
        let out = out.split_columns(skipped).1;
        self.product(weights, x, (skipped, STORE), (team, members), out);
        members[0].clock.lap(Stage::QueryKeyValue);
        let head_size = width / config.num_attention_heads;
        let parts = Grid::new(context.rows(), (width, head_size), count).parts_of(context);
        let states = Matrix::new(&all, rows, n, n);
        team.share(
            parts.zip(&mut *members),
            |((queried, columns, out), member)| {
                let of =
                    |first: usize| states.column_range(first + columns.start..first + columns.end);
                let [k, v] = [of(width), of(2 * width)].map(|of| of.row_range(firsts..rows));
                let asked = (queries.are_firsts(), queried, columns.clone());
                let scratch = &mut member.attention;
                attention::run(self, sequences, asked, [of(0), k, v], scratch, out);
            },
        );
        members[0].clock.lap(Stage::Attention);
        members[0].query_key_value = all;
    }
}

//! A report for the eye: Markdown tables with straight columns.

use super::{KernelReport, Latency, Report};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.model;
        writeln!(
            f,
            "bertlet {} ({}) on {}\n{}: {}, {}, {} layers of {}\n",
            self.version,
            self.target,
            self.cpu.as_deref().unwrap_or("an unknown CPU"),
            model.file,
            model.source,
            model.precision,
            model.num_hidden_layers,
            model.hidden_size
        )?;
        writeln!(
            f,
            "One text, in milliseconds: minimum / median / slowest tenth\n"
        )?;
        write_table(f, &latencies(&self.kernels))?;
        let threads = match self.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        };
        writeln!(f, "\nMany texts, {threads}\n")?;
        write_table(f, &rates(&self.kernels))?;
        for kernel in self
            .kernels
            .iter()
            .filter(|kernel| !kernel.profile.is_empty())
        {
            writeln!(f, "\nMicroseconds a token, {}, 1 thread\n", kernel.kernel)?;
            write_table(f, &stages(kernel))?;
        }
        writeln!(
            f,
            "\ntokenizer, 1 thread: {:.2} million tokens/s, {:.0} MB/s",
            self.tokenizer.tokens_per_second / 1e6,
            self.tokenizer.bytes_per_second / 1e6
        )?;
        match self.peak_rss_bytes {
            Some(bytes) => writeln!(
                f,
                "peak memory, model included: {:.1} MB",
                bytes as f64 / 1e6
            ),
            None => Ok(()),
        }
    }
}

type Row = Vec<String>;

/// A row for each kernel and number of threads, a column for each length.
fn latencies(kernels: &[KernelReport]) -> Vec<Row> {
    let mut rows = vec![vec!["kernel".to_owned(), "threads".to_owned()]];
    for report in kernels {
        for group in report.latency.chunk_by(|a, b| a.threads == b.threads) {
            if rows.len() == 1 {
                let heads = group
                    .iter()
                    .map(|latency| format!("{} tokens", latency.tokens));
                rows[0].extend(heads);
            }
            let mut row = vec![report.kernel.to_owned(), group[0].threads.to_string()];
            row.extend(group.iter().map(times));
            rows.push(row);
        }
    }
    rows
}

fn times(latency: &Latency) -> String {
    let [minimum, median, p90] =
        [latency.minimum_ms, latency.median_ms, latency.p90_ms].map(digits);
    format!("{minimum} / {median} / {p90}")
}

/// A row for each kernel, two columns for each kind of text.
fn rates(kernels: &[KernelReport]) -> Vec<Row> {
    let mut rows = vec![vec!["kernel".to_owned()]];
    for report in kernels {
        let mut row = vec![report.kernel.to_owned()];
        for bulk in &report.bulk {
            if rows.len() == 1 {
                rows[0].push(format!("{} a second", bulk.texts));
                rows[0].push("tokens a second".to_owned());
            }
            row.push(format!("{:.0}", bulk.texts_per_second));
            row.push(format!("{:.0}", bulk.tokens_per_second));
        }
        rows.push(row);
    }
    rows
}

/// A row for each stage, a column for each workload.
fn stages(report: &KernelReport) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![vec!["stage".to_owned()]];
    let first = &report.profile[0].stages;
    rows.extend(first.iter().map(|stage| vec![stage.stage.to_owned()]));
    rows.push(vec!["whole".to_owned()]);
    for column in &report.profile {
        let times = column.stages.iter().map(|stage| stage.us);
        let cells = times.chain([column.whole_us]).map(|us| format!("{us:.2}"));
        for (row, cell) in rows
            .iter_mut()
            .zip([column.texts.clone()].into_iter().chain(cells))
        {
            row.push(cell);
        }
    }
    rows
}

/// Three significant digits of milliseconds, down to microseconds.
fn digits(milliseconds: f64) -> String {
    match milliseconds {
        100.0.. => format!("{milliseconds:.0}"),
        10.0.. => format!("{milliseconds:.1}"),
        1.0.. => format!("{milliseconds:.2}"),
        _ => format!("{milliseconds:.3}"),
    }
}

/// The first row is the head; the first column is to the left, all others are to the right.
fn write_table(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(f, "| {cell:width$} ")?,
                _ => write!(f, "| {cell:>width$} ")?,
            }
        }
        writeln!(f, "|")?;
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                match column {
                    0 => write!(f, "|{}", "-".repeat(width + 2))?,
                    _ => write!(f, "|{}:", "-".repeat(width + 1))?,
                }
            }
            writeln!(f, "|")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_markdown_with_straight_columns() {
        struct Table(Vec<Row>);
        impl fmt::Display for Table {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_table(f, &self.0)
            }
        }
        let rows = [["stage", "µs"], ["a", "12.50"], ["longer", "3.00"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        let expected = "\
            | stage  |    µs |\n\
            |--------|------:|\n\
            | a      | 12.50 |\n\
            | longer |  3.00 |\n";
        assert_eq!(Table(rows).to_string(), expected);
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!(
            [0.0123, 0.123, 1.234, 12.34, 123.4].map(digits),
            ["0.012", "0.123", "1.23", "12.3", "123"]
        );
    }
}

//! A report as text.

use super::Report;
use super::compare::precision_name;
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", title(self))?;
        write!(f, "{} texts, {} tokens", self.texts, self.tokens)?;
        if self.truncated > 0 {
            write!(
                f,
                ", {} texts cut at {} tokens",
                self.truncated, self.max_length
            )?;
        }
        writeln!(f, "; kernel {}\n", self.kernel)?;

        let cosine = &self.cosine;
        writeln!(f, "sentence vectors, cosine")?;
        writeln!(f, "  mean                {:>12.7}", cosine.mean)?;
        writeln!(f, "  1st percentile      {:>12.7}", cosine.percentile_1)?;
        writeln!(
            f,
            "  minimum             {:>12.7}  line {}",
            cosine.minimum, cosine.minimum_line
        )?;
        if let Some(logits) = &self.logits {
            writeln!(f, "\nlogits")?;
            writeln!(
                f,
                "  largest difference  {:>12}  line {}",
                significant(logits.largest_difference),
                logits.largest_difference_line
            )?;
            writeln!(
                f,
                "  mean difference     {:>12}",
                significant(logits.mean_difference)
            )?;
            if let Some(agreement) = logits.label_agreement {
                writeln!(
                    f,
                    "  label agreement     {:>10.2} %  {} of {}",
                    100.0 * agreement,
                    self.texts - logits.disagreeing_lines.len(),
                    self.texts
                )?;
            }
        }
        writeln!(
            f,
            "\n{:<12}{:>16}{:>20}{:>12}",
            "state after", "relative error", "token cosine, mean", "minimum"
        )?;
        for stage in &self.stages {
            writeln!(
                f,
                "{:<12}{:>14} %{:>20.7}{:>12.7}",
                stage.name,
                significant(100.0 * stage.relative_error),
                stage.mean_cosine,
                stage.minimum_cosine
            )?;
        }
        Ok(())
    }
}

/// What is compared with what.
pub(super) fn title(report: &Report) -> String {
    let precision = precision_name(report.precision);
    format!("{}: {precision} against f32", report.source)
}

/// Three significant digits.
pub(super) fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits_before = value.abs().log10().floor() as i32 + 1;
    if digits_before < -2 {
        return format!("{value:.2e}");
    }
    format!(
        "{value:.*}",
        usize::try_from(3 - digits_before).unwrap_or(0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (1234.5, "1234"),
            (12.345, "12.3"),
            (1.0, "1.00"),
            (0.5319, "0.532"),
            (0.00123, "0.00123"),
            (0.000123, "1.23e-4"),
        ] {
            assert_eq!(significant(value), expected);
        }
    }
}

//! The error after each layer as an SVG picture.

use super::Report;
use super::table::{significant, title};
use std::fmt::{self, Write};

/// Distance of neighbouring points: room for a value of three digits above each.
const STEP: f64 = 56.0;
/// Narrow models get this width all the same, for the title.
const LEAST_WIDTH: f64 = 640.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 60.0;

const LINE: &str = "#0b62a8";
const INK: &str = "#222222";
const GRID: &str = "#dddddd";

/// Characters of a checkpoint's name that fit into the title.
const NAME: usize = 40;

/// Draws the relative error after the embeddings and after each layer.
pub fn plot(report: &Report) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = draw(report, &mut svg);
    svg
}

fn draw(report: &Report, out: &mut String) -> fmt::Result {
    let errors: Vec<f64> = report
        .stages
        .iter()
        .map(|stage| 100.0 * stage.relative_error)
        .collect();
    let width = (LEFT + RIGHT + STEP * errors.len() as f64).max(LEAST_WIDTH);
    let (right, bottom) = (width - RIGHT, HEIGHT - BOTTOM);
    let scale = Scale::to(errors.iter().copied().fold(0.0, f64::max));
    let gap = (right - LEFT) / errors.len() as f64;
    let x = |index: usize| LEFT + gap * (index as f64 + 0.5);
    let y = |value: f64| bottom - (bottom - TOP) * value / scale.end();

    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="12" fill="{INK}">"#
    )?;
    writeln!(out, "<title>{}</title>", escape(&title(report)))?;
    writeln!(
        out,
        r##"<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>"##
    )?;
    let named = Report {
        source: shortened(&report.source, NAME),
        ..report.clone()
    };
    let heading = title(&named);
    text(out, [LEFT, 28.0], "start", 16, &heading)?;
    let cosine = &report.cosine;
    let summary = format!(
        "{} texts, {} tokens; sentence cosine: mean {:.6}, minimum {:.6}",
        report.texts, report.tokens, cosine.mean, cosine.minimum
    );
    text(out, [LEFT, 50.0], "start", 12, &summary)?;

    for tick in 0..=scale.ticks {
        let value = scale.step * tick as f64;
        let at = y(value);
        writeln!(
            out,
            r#"<line x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}" stroke="{}"/>"#,
            if tick == 0 { INK } else { GRID }
        )?;
        text(out, [LEFT - 8.0, at + 4.0], "end", 12, &scale.label(value))?;
    }
    let middle = (TOP + bottom) / 2.0;
    writeln!(
        out,
        r#"<text transform="translate(20 {middle}) rotate(-90)" text-anchor="middle">relative error, %</text>"#
    )?;
    text(
        out,
        [(LEFT + right) / 2.0, HEIGHT - 14.0],
        "middle",
        12,
        "hidden state after the embeddings and after each layer",
    )?;

    let points: Vec<String> = errors
        .iter()
        .enumerate()
        .map(|(index, error)| format!("{:.1},{:.1}", x(index), y(*error)))
        .collect();
    writeln!(
        out,
        r#"<polyline points="{}" fill="none" stroke="{LINE}" stroke-width="2"/>"#,
        points.join(" ")
    )?;
    for (index, (error, stage)) in errors.iter().zip(&report.stages).enumerate() {
        let (x, y) = (x(index), y(*error));
        let value = significant(*error);
        writeln!(
            out,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{LINE}"><title>{}: {value} %</title></circle>"#,
            escape(&stage.name)
        )?;
        let label = match bends_up(&errors, index) && y + 24.0 < bottom {
            true => y + 20.0,
            false => y - 10.0,
        };
        text(out, [x, label], "middle", 12, &value)?;
        let name = stage.name.strip_prefix("layer ").unwrap_or(&stage.name);
        text(out, [x, bottom + 18.0], "middle", 12, name)?;
    }
    writeln!(out, "</svg>")
}

/// Whether the line to the neighbours runs above a point rather than below it: where its value must not stand.
fn bends_up(values: &[f64], index: usize) -> bool {
    let neighbours = [index.checked_sub(1), index.checked_add(1)];
    let rises = neighbours
        .into_iter()
        .flatten()
        .filter_map(|neighbour| values.get(neighbour))
        .map(|value| value - values[index]);
    rises.sum::<f64>() > 0.0
}

fn text(out: &mut String, [x, y]: [f64; 2], anchor: &str, size: u32, content: &str) -> fmt::Result {
    writeln!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{}</text>"#,
        escape(content)
    )
}

/// An axis from zero in even steps.
struct Scale {
    step: f64,
    ticks: usize,
    /// Of a label.
    decimals: usize,
}

impl Scale {
    /// At most five steps of 1, 2 or 5 times a power of ten up to `largest` or beyond.
    fn to(largest: f64) -> Scale {
        // An axis needs some length even where nothing differs.
        let largest = largest.max(1e-6);
        let power = (largest / 5.0).log10().floor();
        let unit = 10f64.powf(power);
        let factor = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|factor| factor * unit * 5.0 >= largest)
            .unwrap_or(10.0);
        let step = factor * unit;
        Scale {
            step,
            ticks: (largest / step).ceil() as usize,
            decimals: (-step.log10().floor()).max(0.0) as usize,
        }
    }

    fn end(&self) -> f64 {
        self.step * self.ticks as f64
    }

    fn label(&self, value: f64) -> String {
        match self.decimals {
            0..=4 => format!("{value:.*}", self.decimals),
            _ if value == 0.0 => "0".to_owned(),
            _ => format!("{value:.1e}"),
        }
    }
}

/// The text, cut to `length` characters.
fn shortened(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Text as XML content; characters that XML cannot hold become replacement characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cosines, Stage};
    use bertlet::format::header::Precision;
    use roxmltree::Document;

    fn report(source: &str, errors: &[f64]) -> Report {
        Report {
            source: source.to_owned(),
            precision: Precision::Int8,
            kernel: "generic".to_owned(),
            texts: 2,
            tokens: 9,
            truncated: 0,
            max_length: 16,
            cosine: Cosines {
                mean: 0.9995,
                percentile_1: 0.999,
                minimum: 0.999,
                minimum_line: 2,
            },
            logits: None,
            stages: errors
                .iter()
                .enumerate()
                .map(|(index, error)| Stage {
                    name: format!("layer {index}"),
                    relative_error: *error,
                    mean_cosine: 1.0,
                    minimum_cosine: 1.0,
                })
                .collect(),
        }
    }

    /// Centres of the points.
    fn points(svg: &str) -> Vec<[f64; 2]> {
        let document = Document::parse(svg).unwrap();
        let at = |node: &roxmltree::Node<'_, '_>, name| {
            let value = node.attribute(name).unwrap();
            value.parse::<f64>().unwrap()
        };
        document
            .descendants()
            .filter(|node| node.has_tag_name("circle"))
            .map(|node| [at(&node, "cx"), at(&node, "cy")])
            .collect()
    }

    #[test]
    fn every_layer_has_a_point_at_its_height() {
        let points = points(&plot(&report("model", &[0.0, 0.02, 0.01])));
        assert_eq!(points.len(), 3);
        assert!(points[0][0] < points[1][0] && points[1][0] < points[2][0]);
        assert_eq!(points[0][1], HEIGHT - BOTTOM);
        assert_eq!(points[1][1], TOP, "2 % is the end of the axis");
        assert_eq!(points[2][1], (TOP + HEIGHT - BOTTOM) / 2.0);
    }

    #[test]
    fn values_stand_beside_the_line() {
        let errors = [3.0, 1.0, 2.0, 5.0, 4.0];
        let found: Vec<bool> = (0..5).map(|index| bends_up(&errors, index)).collect();
        assert_eq!(found, [false, true, true, false, true]);
        assert!(!bends_up(&[1.0], 0));
    }

    #[test]
    fn names_and_equal_models_keep_the_picture_whole() {
        let svg = plot(&report("<a> & \u{1}\"b\"", &[0.0, 0.0]));
        assert_eq!(points(&svg).len(), 2);
        let document = Document::parse(&svg).unwrap();
        let texts: String = document.descendants().filter_map(|n| n.text()).collect();
        assert!(
            texts.contains("<a> & \u{fffd}\"b\": int8 against f32"),
            "{texts}"
        );
    }

    #[test]
    fn axes_end_at_or_above_the_largest_value() {
        for largest in [0.0, 3e-7, 0.00123, 0.99, 1.0, 1.01, 4.9, 5.1, 77.0, 1234.5] {
            let scale = Scale::to(largest);
            assert!(scale.end() >= largest, "{largest}: {}", scale.end());
            assert!((2..=5).contains(&scale.ticks), "{largest}: {}", scale.ticks);
        }
        assert_eq!(Scale::to(4.9).label(3.0), "3");
        assert_eq!(Scale::to(0.99).label(0.4), "0.4");
        assert_eq!(Scale::to(3e-5).label(1e-5), "1.0e-5");
    }
}

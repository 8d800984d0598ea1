//! Attention weights as pictures: on the terminal, and as SVG.

use crate::Attention;
use std::fmt::Write;

/// From nothing to everything, without colours.
const SHADES: [&str; 6] = [" ", "·", "░", "▒", "▓", "█"];
/// Columns of the longest bar.
const BAR: f32 = 40.0;

fn row(attention: &Attention, index: usize) -> &[f32] {
    let count = attention.tokens.len();
    &attention.weights[index * count..][..count]
}

/// Characters that a terminal would act on, made visible.
fn plain(token: &str) -> String {
    token
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A column for each token, in the order of the rows; a row for each token.
pub fn matrix(out: &mut Vec<u8>, attention: &Attention, color: bool) {
    let tokens: Vec<String> = attention.tokens.iter().map(|t| plain(&t.token)).collect();
    let width = tokens.iter().map(|t| t.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let blanks = width - token.chars().count();
        let _ = write!(text, "{:blanks$}{token} ", "");
        for weight in row(attention, index) {
            text.push_str(&cell(*weight, color));
        }
        let best = best(row(attention, index));
        let _ = writeln!(text, " {} {:.2}", tokens[best], row(attention, index)[best]);
    }
    out.extend_from_slice(text.as_bytes());
}

/// Two columns of one shade.
fn cell(weight: f32, color: bool) -> String {
    let weight = weight.clamp(0.0, 1.0).sqrt();
    if color {
        // The 24 greys of a terminal with 256 colours.
        let grey = 232 + (weight * 23.0).round() as u32;
        format!("\x1b[48;5;{grey}m  \x1b[0m")
    } else {
        SHADES[(weight * (SHADES.len() - 1) as f32).round() as usize].repeat(2)
    }
}

fn best(weights: &[f32]) -> usize {
    (0..weights.len()).fold(0, |best, other| {
        if weights[other] > weights[best] {
            other
        } else {
            best
        }
    })
}

/// What the tokens `rows` look at, on average, most first: weight, token and a bar.
pub fn bars(out: &mut Vec<u8>, attention: &Attention, rows: &[usize], color: bool) {
    let mut means: Vec<(usize, f32)> = (0..attention.tokens.len())
        .map(|token| {
            let sum: f32 = rows.iter().map(|index| row(attention, *index)[token]).sum();
            (token, sum / rows.len() as f32)
        })
        .collect();
    means.sort_by(|a, b| b.1.total_cmp(&a.1));
    let tokens: Vec<String> = attention.tokens.iter().map(|t| plain(&t.token)).collect();
    let width = tokens.iter().map(|t| t.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (token, mean) in means {
        let blanks = width - tokens[token].chars().count();
        let bar = "█".repeat((mean * BAR).round() as usize);
        let (on, off) = if color {
            ("\x1b[36m", "\x1b[0m")
        } else {
            ("", "")
        };
        let line = format!("{mean:.4} {}{:blanks$} {on}{bar}{off}", tokens[token], "");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    out.extend_from_slice(text.as_bytes());
}

/// The tokens twice, and a line from each of `rows` on the left to what it looks at on the right, as strong as its weight.
pub fn svg(attention: &Attention, rows: &[usize]) -> String {
    const LINE: usize = 20;
    const LEFT: usize = 160;
    const RIGHT: usize = 380;
    let count = attention.tokens.len();
    let height = (count + 1) * LINE;
    let middle = |index: usize| LINE * (index + 1) - LINE / 3;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 540 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"540\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for index in rows {
        for (token, weight) in row(attention, *index).iter().enumerate() {
            // What could not be seen anyway.
            if *weight >= 0.01 {
                let (from, to) = (middle(*index) - 4, middle(token) - 4);
                let _ = writeln!(
                    out,
                    "<line x1=\"{}\" y1=\"{from}\" x2=\"{}\" y2=\"{to}\" stroke=\"#1f6feb\" stroke-width=\"2\" stroke-opacity=\"{weight:.3}\"><title>{weight:.3}</title></line>",
                    LEFT + 6,
                    RIGHT - 6
                );
            }
        }
    }
    for (index, token) in attention.tokens.iter().enumerate() {
        let name = escaped(&token.token);
        let y = middle(index);
        let weight = if rows.contains(&index) {
            "bold"
        } else {
            "normal"
        };
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"{y}\" text-anchor=\"end\" font-weight=\"{weight}\">{name}</text>\n<text x=\"{RIGHT}\" y=\"{y}\">{name}</text>"
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenFeature;

    fn attention() -> Attention {
        let tokens = ["[CLS]", "<a>", "b"].map(|token| TokenFeature {
            id: 0,
            token: token.to_owned(),
            offsets: (0, 0),
            text: None,
            values: Vec::new(),
        });
        Attention {
            tokens: tokens.to_vec(),
            weights: vec![1.0, 0.0, 0.0, 0.25, 0.25, 0.5, 0.005, 0.0, 0.995],
        }
    }

    #[test]
    fn pictures_show_the_weights() {
        let mut out = Vec::new();
        matrix(&mut out, &attention(), false);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "[CLS] ██     [CLS] 1.00\n  <a> ▒▒▒▒▓▓ b 0.50\n    b     ██ b 1.00\n"
        );
        let mut out = Vec::new();
        bars(&mut out, &attention(), &[1], false);
        let lines = String::from_utf8(out).unwrap();
        assert!(
            lines.starts_with("0.5000 b     ████████████████████\n0.2500 [CLS] ██████████\n"),
            "{lines}"
        );
        let picture = svg(&attention(), &[1, 2]);
        assert_eq!(picture.matches("<line").count(), 4);
        assert!(picture.contains("&lt;a&gt;") && picture.contains("stroke-opacity=\"0.250\""));
    }
}

//! Curves as SVG for the report: no font, no script, opens anywhere.

use std::fmt::Write;

/// A named line.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it shows.
    pub name: String,
    /// Its points, in order of x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 40.0;
const COLOURS: [&str; 6] = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"];

/// At most six steps to name on the axis: whole numbers within the range, evenly apart.
fn whole_ticks(low: f64, high: f64) -> Vec<i64> {
    let (first, last) = (low.ceil() as i64, high.floor() as i64);
    let apart = ((last - first).max(0) as u64).div_ceil(5).max(1);
    (first..=last).step_by(apart as usize).collect()
}

/// Curves over a common x axis of steps; `value` names the y axis.
pub(crate) fn svg(title: &str, value: &str, curves: &[Curve]) -> String {
    let finite = |&&(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
    let all: Vec<(f64, f64)> = curves.iter().flat_map(|c| &c.points).filter(finite).copied().collect();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (0.0, 1.0)
        } else if low == high {
            (low - 0.5, high + 0.5)
        } else {
            (low, high)
        }
    };
    let (x0, x1) = range(&mut all.iter().map(|p| p.0));
    let (y0, y1) = range(&mut all.iter().map(|p| p.1));
    let at = |x: f64, y: f64| {
        (
            LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        )
    };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="20" font-size="14">{}</text>"##,
        escape(title)
    );
    for i in 0..=4 {
        let y = y0 + f64::from(i) / 4.0 * (y1 - y0);
        let py = at(x0, y).1;
        let _ = writeln!(
            out,
            r##"<line x1="{LEFT}" y1="{py:.1}" x2="{:.1}" y2="{py:.1}" stroke="#d0d7de"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
            WIDTH - RIGHT,
            LEFT - 6.0,
            py + 4.0,
            number(y)
        );
    }
    for step in whole_ticks(x0, x1) {
        let _ = writeln!(
            out,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="middle">{step}</text>"##,
            at(step as f64, y0).0,
            HEIGHT - BOTTOM + 16.0
        );
    }
    let _ = writeln!(
        out,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="middle">step</text><text x="14" y="{:.1}" text-anchor="middle" transform="rotate(-90 14 {:.1})">{}</text>"##,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0,
        (TOP + HEIGHT - BOTTOM) / 2.0,
        (TOP + HEIGHT - BOTTOM) / 2.0,
        escape(value)
    );
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points: Vec<String> = curve
            .points
            .iter()
            .filter(finite)
            .map(|&(x, y)| {
                let (x, y) = at(x, y);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            out,
            r##"<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{}"/><text x="{:.1}" y="{:.1}" fill="{colour}" text-anchor="end">{}</text>"##,
            points.join(" "),
            WIDTH - RIGHT - 4.0,
            TOP + 14.0 * (i as f64 + 1.0),
            escape(&curve.name)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 {
        format!("{value:.1e}")
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Text as HTML and SVG take it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_inside_and_odd_values_do_no_harm() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve { name: name.to_owned(), points: points.to_vec() };
        let drawing =
            svg("a < b", "loss", &[curve("loss", &[(0.0, 2.0), (1.0, f64::NAN), (2.0, 1.0)]), curve("empty", &[])]);
        assert!(drawing.contains("a &lt; b"));
        assert!(drawing.contains("points=\"64.0,36.0 624.0,320.0\""), "{drawing}");
        assert!(!drawing.contains("NaN") && !drawing.contains("inf"));
        assert!(svg("none", "loss", &[]).ends_with("</svg>\n"));
        // Steps are whole, and both axes have names.
        assert!(
            drawing.contains(">0<") && drawing.contains(">1<") && drawing.contains(">2<") && !drawing.contains(">0.5<")
        );
        assert!(drawing.contains(">step<") && drawing.contains(">loss</text>"));
        assert_eq!(whole_ticks(0.0, 123.0), [0, 25, 50, 75, 100]);
        assert_eq!(whole_ticks(0.5, 1.5), [1]);
        assert!(!svg("one", "loss", &[curve("x", &[(3.0, 3.0)])]).contains("NaN"));
    }
}

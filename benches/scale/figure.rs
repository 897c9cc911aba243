//! Quantities against size as SVG: a panel for each, both axes logarithmic, with the line that would be linear. Knows
//! nothing of what was measured.

use std::fmt::{self, Write};

/// One panel.
pub struct Panel {
    pub title: &'static str,
    /// Size and quantity, ascending by size.
    pub points: Vec<(f64, f64)>,
}

/// Width and height of the drawing area of a panel.
const AREA: (f64, f64) = (250.0, 250.0);
const LEFT: f64 = 52.0;
const GAP: f64 = 62.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 78.0;
/// Both axes reach beyond the points by this factor.
const MARGIN: f64 = 3.0;
/// Colours of the panels, told apart also without colour vision.
const COLOURS: [&str; 3] = ["#0b6fb8", "#c2500a", "#5b8c2a"];

/// Draws the panels beside each other; `sizes` says what the horizontal axes count.
pub fn draw(title: &str, sizes: &str, panels: &[Panel]) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut svg, title, sizes, panels);
    svg
}

fn write(svg: &mut String, title: &str, sizes: &str, panels: &[Panel]) -> fmt::Result {
    let count = panels.len() as f64;
    let (width, height) = (LEFT + count * (AREA.0 + GAP) - GAP + RIGHT, TOP + AREA.1 + BOTTOM);
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">"##
    )?;
    writeln!(svg, r#"<title id="title">{title}</title>"#)?;
    writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#fff"/>"##)?;
    writeln!(svg, r#"<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{title}</text>"#)?;
    for (index, panel) in panels.iter().enumerate() {
        let left = LEFT + index as f64 * (AREA.0 + GAP);
        writeln!(svg, r#"<g transform="translate({left} {TOP})">"#)?;
        draw_panel(svg, panel, sizes, COLOURS[index % COLOURS.len()])?;
        writeln!(svg, "</g>")?;
    }
    let y = height - 18.0;
    writeln!(svg, r##"<path d="M{LEFT} {y}h28" stroke="#555" stroke-width="1.3" stroke-dasharray="5 4"/>"##)?;
    writeln!(svg, r#"<text x="{}" y="{}">linear in the size, through the largest</text>"#, LEFT + 36.0, y + 4.0)?;
    writeln!(svg, "</svg>")
}

fn draw_panel(svg: &mut String, panel: &Panel, sizes: &str, colour: &str) -> fmt::Result {
    let (across, up) =
        (Axis::around(panel.points.iter().map(|at| at.0)), Axis::around(panel.points.iter().map(|at| at.1)));
    let x = |size: f64| AREA.0 * across.place(size);
    let y = |value: f64| AREA.1 * (1.0 - up.place(value));
    writeln!(svg, r#"<text y="-14" font-size="13" font-weight="bold" fill="{colour}">{}</text>"#, panel.title)?;
    for tick in across.ticks() {
        writeln!(svg, r##"<path d="M{:.1} 0v{}" stroke="#ddd"/>"##, x(tick), AREA.1)?;
        let (x, y) = (x(tick), AREA.1 + 16.0);
        writeln!(svg, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{}</text>"#, short(tick))?;
    }
    for tick in up.ticks() {
        writeln!(svg, r##"<path d="M0 {:.1}h{}" stroke="#ddd"/>"##, y(tick), AREA.0)?;
        writeln!(svg, r#"<text x="-7" y="{:.1}" text-anchor="end">{}</text>"#, y(tick) + 4.0, short(tick))?;
    }
    writeln!(svg, r##"<rect width="{}" height="{}" fill="none" stroke="#888"/>"##, AREA.0, AREA.1)?;
    writeln!(svg, r#"<text x="{}" y="{}" text-anchor="middle">{sizes}</text>"#, AREA.0 / 2.0, AREA.1 + 36.0)?;
    if let Some(&(size, value)) = panel.points.last() {
        // From where the line enters the panel: at the left, or at the bottom.
        let from = across.low.max(size * up.low / value);
        let (x1, y1, x2, y2) = (x(from), y(value * from / size), x(size), y(value));
        writeln!(
            svg,
            r##"<path d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}" stroke="#555" stroke-width="1.3" stroke-dasharray="5 4"/>"##
        )?;
    }
    let line: Vec<String> = panel.points.iter().map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
    writeln!(svg, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, line.join(" "))?;
    for &(size, value) in &panel.points {
        let (x, y) = (x(size), y(value));
        writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#)?;
        writeln!(
            svg,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end" font-size="11" fill="{colour}" stroke="#fff" stroke-width="3" paint-order="stroke">{}</text>"##,
            x - 5.0,
            y - 6.0,
            short(value)
        )?;
    }
    Ok(())
}

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        Self { low: low / MARGIN, high: values.fold(0.0, f64::max) * MARGIN }
    }

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    /// The powers of ten on it.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
        (first..=last).map(|power| 10f64.powi(power))
    }
}

/// A number in few characters, with two digits that tell something: `0.015`, `2.3`, `560`, `4.6k`, `10M`.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let step = 10f64.powi(scaled.log10().floor() as i32 - 1);
    let digits = (-step.log10().round()).max(0.0) as usize;
    let text = format!("{:.digits$}", (scaled / step).round() * step);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

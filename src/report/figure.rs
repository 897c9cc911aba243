//! The popularity of items in train against that in the tests, drawn as SVG: a panel per test, items binned so that
//! figures stay small. Text and shapes only, no scripts; equal counts are equal bytes.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::escape;

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    pub title: String,
    /// Interactions of each item in train.
    pub train: Vec<u32>,
    /// Title of each test and the interactions of each item in it; tests without any are left out.
    pub tests: Vec<(String, Vec<u32>)>,
}

/// Width and height of the drawing area of a panel.
const PANEL: (f64, f64) = (330.0, 300.0);
const LEFT: f64 = 62.0;
const GAP: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 112.0;
/// Bins along each axis.
const BINS: f64 = 48.0;
/// Bins of the curve of means.
const STEPS: f64 = 16.0;
const MAX_RADIUS: f64 = 5.5;
/// Colours of the panels, told apart also without colour vision.
const COLOURS: [&str; 3] = ["#0b6fb8", "#c2500a", "#5b8c2a"];

/// Draws the figure.
pub fn popularity(figure: &Popularity) -> String {
    let tests: Vec<_> = figure.tests.iter().filter(|(_, counts)| counts.iter().any(|&count| count > 0)).collect();
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = draw(&mut svg, figure, &tests);
    svg
}

fn draw(svg: &mut String, figure: &Popularity, tests: &[&(String, Vec<u32>)]) -> fmt::Result {
    let panels = tests.len().max(1) as f64;
    let (width, height) = (LEFT + panels * PANEL.0 + (panels - 1.0) * GAP + RIGHT, TOP + PANEL.1 + BOTTOM);
    let title = escape::xml(&figure.title);
    let names: Vec<String> = tests.iter().map(|(name, _)| escape::xml(name)).collect();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title description" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">"##
    )?;
    writeln!(svg, r#"<title id="title">{title}</title>"#)?;
    writeln!(svg, r#"<desc id="description">{}</desc>"#, description(figure, &names))?;
    writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#fff"/>"##)?;
    writeln!(svg, r#"<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{title}</text>"#)?;
    for (index, ((_, counts), name)) in tests.iter().zip(&names).enumerate() {
        let left = LEFT + index as f64 * (PANEL.0 + GAP);
        let colour = COLOURS[index % COLOURS.len()];
        writeln!(svg, r#"<g transform="translate({left} {TOP})">"#)?;
        writeln!(svg, r#"<text x="0" y="-12" font-size="13" fill="{colour}" font-weight="bold">{name}</text>"#)?;
        panel(svg, &figure.train, counts, colour)?;
        writeln!(svg, "</g>")?;
    }
    if tests.is_empty() {
        writeln!(svg, r#"<text x="{LEFT}" y="{TOP}">There is no test with interactions.</text>"#)?;
    } else {
        legend(svg, height)?;
    }
    writeln!(svg, "</svg>")
}

fn description(figure: &Popularity, names: &[String]) -> String {
    format!(
        "Each dot stands for items with about the same number of interactions in train (horizontal) and in a test \
         (vertical), both on a logarithmic scale from 0; its area grows with the number of items. {} items; tests: {}.",
        figure.train.len(),
        names.join(", ")
    )
}

/// The scale of both axes.
fn log(count: f64) -> f64 {
    count.ln_1p()
}

fn panel(svg: &mut String, train: &[u32], test: &[u32], colour: &str) -> fmt::Result {
    let highest = |counts: &[u32]| f64::from(counts.iter().copied().max().unwrap_or(0).max(4));
    let (highest_x, highest_y) = (highest(train), highest(test));
    let (end_x, end_y) = (log(highest_x) * 1.04, log(highest_y) * 1.04);
    let x = |value: f64| PANEL.0 * value / end_x;
    let y = |value: f64| PANEL.1 * (1.0 - value / end_y);
    axes(svg, (highest_x, highest_y), x, y)?;

    // What a test without a shift would have: every item its share of train.
    let total = |counts: &[u32]| counts.iter().map(|&count| f64::from(count)).sum::<f64>();
    let ratio = total(test) / total(train).max(1.0);
    let steps = (0..=64).map(|step| (end_x * f64::from(step) / 64.0).exp_m1());
    let path = steps.map(|count| (log(count), log(count * ratio))).take_while(|at| at.1 <= end_y);
    let path: Vec<String> = path.map(|(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
    writeln!(
        svg,
        r##"<polyline points="{}" fill="none" stroke="#555" stroke-width="1.3" stroke-dasharray="5 4"/>"##,
        path.join(" ")
    )?;

    // Items by bin: how many, and the sums of their coordinates.
    let mut dots: BTreeMap<(u32, u32), (u32, f64, f64)> = BTreeMap::new();
    // Items by step: how many, and the sums of their counts.
    let mut means: BTreeMap<u32, (u32, f64, f64)> = BTreeMap::new();
    for (&own, &other) in train.iter().zip(test) {
        let (a, b) = (log(f64::from(own)), log(f64::from(other)));
        let dot = dots.entry(((a / end_x * BINS) as u32, (b / end_y * BINS) as u32)).or_default();
        *dot = (dot.0 + 1, dot.1 + a, dot.2 + b);
        let mean = means.entry((a / end_x * STEPS) as u32).or_default();
        *mean = (mean.0 + 1, mean.1 + f64::from(own), mean.2 + f64::from(other));
    }
    let most = dots.values().map(|dot| f64::from(dot.0)).fold(1.0, f64::max);
    writeln!(svg, r#"<g fill="{colour}" fill-opacity="0.45">"#)?;
    for (n, a, b) in dots.values() {
        let n = f64::from(*n);
        let radius = 1.1 + (MAX_RADIUS - 1.1) * (n.ln() / most.ln().max(1.0)).sqrt();
        writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="{radius:.1}"/>"#, x(a / n), y(b / n))?;
    }
    writeln!(svg, "</g>")?;
    let means = means.values().map(|&(n, own, other)| (log(own / f64::from(n)), log(other / f64::from(n))));
    let path: Vec<String> = means.map(|(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
    writeln!(svg, r##"<polyline points="{}" fill="none" stroke="#111" stroke-width="2"/>"##, path.join(" "))
}

/// The values at which an axis up to `highest` is labelled.
fn ticks(highest: f64) -> Vec<f64> {
    // With many decades only their beginnings.
    let steps: &[f64] = if highest < 1e4 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = (0..10).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    [0.0].into_iter().chain(decades.take_while(|&tick| tick <= highest)).collect()
}

fn axes(
    svg: &mut String,
    (highest_x, highest_y): (f64, f64),
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) -> fmt::Result {
    let (width, height) = PANEL;
    writeln!(svg, r##"<g stroke="#ddd">"##)?;
    for tick in ticks(highest_x) {
        writeln!(svg, r#"<line x1="{0:.1}" x2="{0:.1}" y1="0" y2="{height}"/>"#, x(log(tick)))?;
    }
    for tick in ticks(highest_y) {
        writeln!(svg, r#"<line x1="0" x2="{width}" y1="{0:.1}" y2="{0:.1}"/>"#, y(log(tick)))?;
    }
    writeln!(svg, r##"</g><rect width="{width}" height="{height}" fill="none" stroke="#888"/>"##)?;
    writeln!(svg, r#"<g text-anchor="middle">"#)?;
    for tick in ticks(highest_x) {
        writeln!(svg, r#"<text x="{:.1}" y="{}">{}</text>"#, x(log(tick)), height + 16.0, short(tick))?;
    }
    writeln!(svg, r#"<text x="{}" y="{}">interactions in train</text></g>"#, width / 2.0, height + 36.0)?;
    writeln!(svg, r#"<g text-anchor="end">"#)?;
    for tick in ticks(highest_y) {
        writeln!(svg, r#"<text x="-7" y="{:.1}">{}</text>"#, y(log(tick)) + 4.0, short(tick))?;
    }
    let middle = height / 2.0;
    writeln!(
        svg,
        r#"</g><text transform="translate(-42 {middle}) rotate(-90)" text-anchor="middle">interactions in the test</text>"#
    )
}

/// A tick in few characters: `500`, `2k`, `10M`.
fn short(tick: f64) -> String {
    match tick {
        tick if tick >= 1e6 => format!("{}M", tick / 1e6),
        tick if tick >= 1e3 => format!("{}k", tick / 1e3),
        tick => format!("{tick}"),
    }
}

fn legend(svg: &mut String, height: f64) -> fmt::Result {
    let [items, mean, even] = [54.0, 34.0, 14.0].map(|above| height - above);
    let line = |y: f64, style: &str| format!(r#"<line x1="{LEFT}" x2="{}" y1="{y}" y2="{y}" {style}/>"#, LEFT + 24.0);
    let text = |y: f64, text: &str| format!(r#"<text x="{}" y="{}">{text}</text>"#, LEFT + 32.0, y + 4.0);
    writeln!(svg, r##"<circle cx="{}" cy="{items}" r="4" fill="#777" fill-opacity="0.6"/>"##, LEFT + 12.0)?;
    writeln!(svg, "{}", text(items, "items (larger: more of them)"))?;
    writeln!(svg, "{}", line(mean, r##"stroke="#111" stroke-width="2""##))?;
    writeln!(svg, "{}", text(mean, "mean over items"))?;
    writeln!(svg, "{}", line(even, r##"stroke="#555" stroke-width="1.3" stroke-dasharray="5 4""##))?;
    writeln!(svg, "{}", text(even, "as frequent as in train: no shift of popularity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Popularity {
        let train: Vec<u32> = (1..=2000).map(|rank| 1 + 20_000 / rank).collect();
        let test = train.iter().map(|count| count / 7).collect();
        Popularity {
            title: "a < b & \"c\"".into(),
            tests: vec![("iid".into(), test), ("ood".into(), vec![0; 2000])],
            train,
        }
    }

    #[test]
    fn a_figure_is_small_well_formed_and_leaves_out_empty_tests() {
        let svg = popularity(&figure());
        assert_eq!(svg, popularity(&figure()));
        assert!(svg.contains("<title id=\"title\">a &lt; b &amp; &quot;c&quot;</title>"), "{svg}");
        assert!(svg.contains(">iid</text>") && !svg.contains(">ood</text>"));
        let count = |text: &str| svg.matches(text).count();
        assert_eq!((count("<g"), count("<text"), count("<svg")), (count("</g>"), count("</text>"), count("</svg>")));
        assert!((50..3000).contains(&count("<circle")) && svg.len() < 200_000, "{}", svg.len());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn figures_without_items_or_tests_say_so() {
        for train in [Vec::new(), vec![1]] {
            let svg = popularity(&Popularity {
                title: String::new(),
                tests: vec![("ood".into(), vec![0; train.len()])],
                train,
            });
            assert!(svg.contains("There is no test with interactions.") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn axes_are_labelled_at_round_numbers() {
        assert_eq!(ticks(12.0), [0.0, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(20_000.0), [0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!([short(500.0), short(2e3), short(1e7)], ["500", "2k", "10M"]);
    }
}

//! Lines over steps, with optional bands of their spread and marks, as SVG in HTML.

use std::collections::HashMap;
use std::fmt::Write;

use crate::axis::{Ticks, six_digits};
use crate::escape;

/// The most points of a line; more are averaged.
const POINTS: usize = 400;
/// Lines of no more points than this have each point marked.
const DOTTED: usize = 16;
/// Colours that the page's style has.
const COLORS: usize = 8;
/// Units of the picture, both ways.
const SIDE: f64 = 1000.0;
/// Larger values are not drawn: their differences would not be finite.
const LARGEST: f64 = 1e100;

/// A line, what it is called, and how far its values spread.
#[derive(Debug, Clone, Default)]
pub struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    band: Vec<(f64, f64, f64)>,
}

impl Line {
    /// A line through points (x, y), x rising.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            band: Vec::new(),
        }
    }

    /// With a band (x, low, high) behind it.
    #[must_use]
    pub fn with_band(mut self, band: Vec<(f64, f64, f64)>) -> Self {
        self.band = band;
        self
    }
}

/// Something that happened at one place of the x axis: a vertical line.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where.
    pub at: f64,
    /// What, as it is shown under the pointer.
    pub name: String,
    /// Whether it should not have happened.
    pub is_bad: bool,
}

/// Lines over one axis.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    x_label: String,
    y_label: String,
    lines: Vec<Line>,
    marks: Vec<Mark>,
}

impl Chart {
    /// `lines` over steps; `y_label` is the unit of their values.
    pub fn over_steps(y_label: &str, lines: Vec<Line>) -> Self {
        Self::over("step", y_label, lines)
    }

    /// `lines` over whole numbers of something else.
    pub fn over(x_label: &str, y_label: &str, lines: Vec<Line>) -> Self {
        Self {
            x_label: x_label.to_owned(),
            y_label: y_label.to_owned(),
            lines,
            marks: Vec::new(),
        }
    }

    /// With marks.
    #[must_use]
    pub fn with_marks(mut self, marks: Vec<Mark>) -> Self {
        self.marks = marks;
        self
    }

    /// The chart as HTML; empty if no line has a point. Values that are not numbers are left out.
    pub fn html(&self) -> String {
        // A line without points is left out but keeps its colour, so that the charts of a page agree.
        let drawn: Vec<Drawn<'_>> = self
            .lines
            .iter()
            .enumerate()
            .map(|(index, line)| Drawn::new(line, index % COLORS))
            .filter(|line| !line.points.is_empty())
            .collect();
        let all = || drawn.iter().flat_map(|line| &line.points);
        let Some(x) = range(all().map(|point| point.0)) else {
            return String::new();
        };
        let edges = drawn.iter().flat_map(|line| &line.band);
        let edges = edges.flat_map(|(_, low, high)| [*low, *high]);
        let Some(y) = range(all().map(|point| point.1).chain(edges)).map(with_margin) else {
            return String::new();
        };
        let plane = Plane { x, y };
        let mut text = String::from("<figure class=\"chart\">");
        // Writing to a string does not fail.
        let _ = self.write(&mut text, &drawn, &plane);
        text + "</figure>"
    }

    fn write(&self, text: &mut String, drawn: &[Drawn<'_>], plane: &Plane) -> std::fmt::Result {
        let (x_label, y_label) = (escape(&self.x_label), escape(&self.y_label));
        if self.lines.len() > 1 {
            text.push_str("<div class=\"legend\">");
            for line in drawn {
                write!(
                    text,
                    "<span style=\"--c:var(--c{})\">{}</span>",
                    line.color,
                    escape(&line.of.name)
                )?;
            }
            text.push_str("</div>");
        }
        let (across, up) = (Ticks::new(plane.x, 6, 1.0), Ticks::new(plane.y, 6, 0.0));
        let labels = up.labels();
        let width = labels
            .iter()
            .map(|label| label.chars().count())
            .max()
            .unwrap_or(0);
        write!(
            text,
            "<div class=\"frame\"><div class=\"ys\" style=\"--w:{width}\">"
        )?;
        for (value, label) in up.values.iter().zip(&labels) {
            write!(
                text,
                "<span style=\"top:{:.2}%\">{label}</span>",
                plane.down(*value) / SIDE * 100.0
            )?;
        }
        let ((left, right), (bottom, top)) = (plane.x, plane.y);
        let range = [left, right, bottom, top]
            .map(|value| value.to_string())
            .join(" ");
        write!(
            text,
            "</div><div class=\"plot\" data-range=\"{range}\" data-x=\"{x_label}\" data-y=\"{y_label}\">"
        )?;
        self.svg(text, drawn, plane, &up)?;
        text.push_str("</div><div class=\"xs\">");
        for (value, label) in across.values.iter().zip(across.labels()) {
            write!(
                text,
                "<span style=\"left:{:.2}%\">{label}</span>",
                plane.across(*value) / SIDE * 100.0
            )?;
        }
        write!(text, "</div></div><figcaption>{y_label} by {x_label}")?;
        let averaged = drawn.iter().map(|line| line.averaged).max().unwrap_or(1);
        if averaged > 1 {
            write!(text, ", means of {averaged}")?;
        }
        text.push_str("</figcaption>");
        Ok(())
    }

    fn svg(&self, text: &mut String, drawn: &[Drawn<'_>], plane: &Plane, up: &Ticks) -> std::fmt::Result {
        let names: Vec<&str> = drawn.iter().map(|line| line.of.name.as_str()).collect();
        write!(
            text,
            "<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\">",
            escape(&format!(
                "{} by {}: {}",
                self.y_label,
                self.x_label,
                names.join(", ")
            ))
        )?;
        for value in &up.values {
            write!(
                text,
                "<path class=\"rule\" d=\"M0 {:.1}H{SIDE}\"/>",
                plane.down(*value)
            )?;
        }
        let (left, right) = plane.x;
        for mark in self.marks.iter().filter(|mark| (left..=right).contains(&mark.at)) {
            let bad = if mark.is_bad { " bad" } else { "" };
            let (at, name, place) = (six_digits(mark.at), escape(&mark.name), plane.across(mark.at));
            write!(
                text,
                "<path class=\"mark{bad}\" data-at=\"{at}\" data-mark=\"{name}\" d=\"M{place:.1} 0V{SIDE}\"/>"
            )?;
        }
        // Bands lie behind all lines.
        for line in drawn.iter().filter(|line| !line.band.is_empty()) {
            let lower = line.band.iter().map(|(x, low, _)| (*x, *low));
            let upper = line.band.iter().rev().map(|(x, _, high)| (*x, *high));
            let outline = plane.path(lower.chain(upper));
            write!(
                text,
                "<path class=\"band\" style=\"--c:var(--c{})\" d=\"{outline}Z\"/>",
                line.color
            )?;
        }
        let many = if drawn.len() > 4 { " many" } else { "" };
        for line in drawn {
            let (color, name, path) = (
                line.color,
                escape(&line.of.name),
                plane.path(line.points.iter().copied()),
            );
            write!(
                text,
                "<path class=\"curve{many}\" style=\"--c:var(--c{color})\" data-color=\"c{color}\" data-name=\"{name}\" \
                 data-points=\"{}\" d=\"{path}\"/>",
                line.values()
            )?;
            if line.points.len() <= DOTTED {
                let dots: String = line
                    .points
                    .iter()
                    .map(|point| format!("{}h0", plane.path([*point])))
                    .collect();
                write!(
                    text,
                    "<path class=\"points\" style=\"--c:var(--c{color})\" d=\"{dots}\"/>"
                )?;
            }
        }
        text.push_str("</svg>");
        Ok(())
    }
}

/// A line as it is drawn.
struct Drawn<'a> {
    of: &'a Line,
    color: usize,
    points: Vec<(f64, f64)>,
    band: Vec<(f64, f64, f64)>,
    /// How many values are averaged in a point.
    averaged: usize,
}

impl<'a> Drawn<'a> {
    fn new(of: &'a Line, color: usize) -> Self {
        let drawable = |value: &f64| value.abs() <= LARGEST;
        let finite: Vec<(f64, f64)> = of
            .points
            .iter()
            .copied()
            .filter(|(x, y)| drawable(x) && drawable(y))
            .collect();
        let averaged = finite.len().div_ceil(POINTS).max(1);
        let mean = |part: &[(f64, f64)]| {
            let count = part.len() as f64;
            let (x, y) = part
                .iter()
                .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
            (x / count, y / count)
        };
        let band = of.band.iter().copied();
        Self {
            of,
            color,
            points: finite.chunks(averaged).map(mean).collect(),
            band: band
                .filter(|(x, low, high)| [x, low, high].into_iter().all(drawable))
                .collect(),
            averaged,
        }
    }

    /// `x,y` of each point, with `,low,high` where it has a band.
    fn values(&self) -> String {
        let band: HashMap<u64, (f64, f64)> = self
            .band
            .iter()
            .map(|(x, low, high)| (x.to_bits(), (*low, *high)))
            .collect();
        let value = |(x, y): &(f64, f64)| {
            let point = format!("{},{}", six_digits(*x), six_digits(*y));
            match band.get(&x.to_bits()) {
                Some((low, high)) => format!("{point},{},{}", six_digits(*low), six_digits(*high)),
                None => point,
            }
        };
        self.points.iter().map(value).collect::<Vec<_>>().join(" ")
    }
}

/// The values at the sides of the picture.
struct Plane {
    x: (f64, f64),
    y: (f64, f64),
}

impl Plane {
    fn across(&self, x: f64) -> f64 {
        (x - self.x.0) / (self.x.1 - self.x.0) * SIDE
    }

    fn down(&self, y: f64) -> f64 {
        (self.y.1 - y) / (self.y.1 - self.y.0) * SIDE
    }

    fn path(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{:.1} {:.1}", self.across(x), self.down(y));
        }
        path
    }
}

/// The smallest and the largest value, widened if they are equal; `None` without values.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let apart = high - low > high.abs().max(low.abs()) * 1e-9;
    let half = (high.abs() * 1e-3).max(if high == 0.0 { 1.0 } else { 0.0 });
    match apart {
        _ if low > high => None,
        true => Some((low, high)),
        false => Some((low - half, high + half)),
    }
}

/// A margin on both sides; not below zero if the values are not.
fn with_margin((low, high): (f64, f64)) -> (f64, f64) {
    let margin = (high - low) * 0.05;
    let bottom = if low >= 0.0 {
        (low - margin).max(0.0)
    } else {
        low - margin
    };
    (bottom, high + margin)
}

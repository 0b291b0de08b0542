//! Lines, with bands of their spread if wished, as SVG text.

use plotters::prelude::*;

/// Points that a line is drawn with; more are averaged.
const POINTS: usize = 800;
const SIZE: (u32, u32) = (760, 300);

/// A line, what it is called, and how far its values spread.
#[derive(Debug, Clone, Default)]
pub struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    band: Vec<(f64, f64, f64)>,
}

impl Line {
    /// A line through points (x, y).
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

/// Colours that differ for most eyes (Okabe and Ito 2008).
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(148, 132, 20),
    RGBColor(90, 90, 90),
];

/// Means of neighbouring points, so that at most [`POINTS`] are left; what is no number is left out.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(_, y)| y.is_finite()).collect();
    let size = finite.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        let (x, y) = chunk
            .iter()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (x / count, y / count)
    };
    finite.chunks(size).map(mean).collect()
}

/// The smallest and the largest, a little apart.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let margin = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-12);
    (low - margin, high + margin)
}

/// Labels of numbers of any size, short.
fn short(value: &f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        x if x >= 1e6 => format!("{:.4}M", value / 1e6).replace(".0000", ""),
        x if x >= 1_000.0 => format!("{value:.0}"),
        x if x >= 0.01 => format!("{:.4}", value)
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        _ => format!("{value:.1e}"),
    }
}

/// A chart of `lines` over steps, with vertical `marks`; nothing if no line has a point.
///
/// # Errors
/// A text, if it cannot be drawn.
pub fn chart(y_label: &str, lines: &[Line], marks: &[f64]) -> Result<String, String> {
    chart_over("step", y_label, lines, marks)
}

/// [`chart`] over something else than steps.
///
/// # Errors
/// A text, if it cannot be drawn.
pub fn chart_over(x_label: &str, y_label: &str, lines: &[Line], marks: &[f64]) -> Result<String, String> {
    // Lines without points are left out, but keep their colour from others: two charts of one page then agree.
    let lines: Vec<(RGBColor, Line)> = lines
        .iter()
        .zip(COLORS.iter().cycle())
        .map(|(line, color)| {
            let points = thinned(&line.points);
            (
                *color,
                Line {
                    points,
                    ..line.clone()
                },
            )
        })
        .filter(|(_, line)| !line.points.is_empty())
        .collect();
    if lines.is_empty() {
        return Ok(String::new());
    }
    let (left, right) = range(
        lines
            .iter()
            .flat_map(|(_, line)| line.points.iter().map(|point| point.0)),
    );
    let (bottom, top) = range(lines.iter().flat_map(|(_, line)| {
        let edges = line.band.iter().flat_map(|(_, low, high)| [*low, *high]);
        line.points.iter().map(|point| point.1).chain(edges)
    }));
    let mut svg = String::new();
    draw(
        &mut svg,
        (x_label, y_label),
        &lines,
        marks,
        (left.max(0.0), right),
        (bottom, top),
    )
    .map_err(|error| error.to_string())?;
    // Scales with the page.
    Ok(svg.replacen("<svg ", "<svg role=\"img\" style=\"width:100%;height:auto\" ", 1))
}

fn draw(
    svg: &mut String,
    (x_label, y_label): (&str, &str),
    lines: &[(RGBColor, Line)],
    marks: &[f64],
    (left, right): (f64, f64),
    (bottom, top): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right, bottom..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(x_label)
        .y_desc(y_label)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .label_style(("sans-serif", 13))
        .draw()?;
    for mark in marks.iter().filter(|mark| (left..=right).contains(*mark)) {
        let line = [(*mark, bottom), (*mark, top)];
        chart.draw_series(LineSeries::new(line, RED.mix(0.5)))?;
    }
    // Behind all lines.
    for (color, line) in lines.iter().filter(|(_, line)| !line.band.is_empty()) {
        let lower = line.band.iter().map(|(x, low, _)| (*x, *low));
        let upper = line.band.iter().rev().map(|(x, _, high)| (*x, *high));
        let outline: Vec<(f64, f64)> = lower.chain(upper).collect();
        chart.draw_series([Polygon::new(outline, color.mix(0.15))])?;
    }
    for (color, line) in lines {
        let color = *color;
        let style = color.stroke_width(if lines.len() > 4 { 1 } else { 2 });
        let series = chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        if lines.len() > 1 {
            series
                .label(line.name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
    }
    area.present()?;
    drop(chart);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_are_averaged_and_none_is_invented() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), f64::from(i) * 2.0)).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS && thin.len() > POINTS / 2);
        assert!(thin.iter().all(|(x, y)| (y - 2.0 * x).abs() < 1e-9));
        assert_eq!(thinned(&[(1.0, f64::NAN), (2.0, 3.0)]), [(2.0, 3.0)]);
    }

    #[test]
    fn lines_marks_and_names_are_in_the_picture() {
        let line = |name: &str, y: f64| Line::new(name, vec![(1.0, y), (2.0, y + 1.0)]);
        let svg = chart("nats", &[line("web", 2.0), line("math", 1.0)], &[1.5]).unwrap();
        for part in ["<svg", "</svg>", "web", "math", "nats", "step"] {
            assert!(svg.contains(part), "{part}");
        }
        let strokes = |color: &str| svg.matches(&format!("stroke=\"{color}\"")).count();
        // Each line and its legend; the mark.
        assert_eq!(
            (strokes("#0072B2"), strokes("#D55E00"), strokes("#FF0000")),
            (2, 2, 1)
        );
        // One value for all steps, and no value at all.
        assert!(chart("nats", &[Line::new("", vec![(3.0, 0.0)])], &[]).is_ok());
        assert_eq!(chart("nats", &[], &[]).unwrap(), "");
    }

    #[test]
    fn a_line_without_points_keeps_its_colour() {
        let line = |points| Line::new("", points);
        let svg = chart(
            "nats",
            &[line(Vec::new()), line(vec![(1.0, 2.0), (2.0, 1.0)])],
            &[],
        )
        .unwrap();
        assert!(svg.contains("#D55E00") && !svg.contains("#0072B2"));
    }

    #[test]
    fn a_band_lies_within_the_picture() {
        let line = Line::new("mean", vec![(0.0, 1.0), (10.0, 1.0)]);
        let plain = chart_over("position", "nats", std::slice::from_ref(&line), &[]).unwrap();
        let banded = chart_over(
            "position",
            "nats",
            &[line.with_band(vec![(0.0, 0.0, 2.0), (10.0, 0.5, 1.5)])],
            &[],
        )
        .unwrap();
        assert_eq!(
            (
                plain.matches("<polygon").count(),
                banded.matches("<polygon").count()
            ),
            (0, 1)
        );
        assert!(banded.contains("position") && !banded.contains("step"));
        let y: Vec<f64> = banded
            .split("points=\"")
            .filter(|part| part.contains("opacity=\"0.15\"") || part.starts_with(char::is_numeric))
            .flat_map(|part| part.split('"').next().unwrap_or_default().split_whitespace())
            .filter_map(|pair| pair.split(',').nth(1)?.parse().ok())
            .collect();
        assert!(
            !y.is_empty() && y.iter().all(|y| (0.0..=300.0).contains(y)),
            "{y:?}"
        );
    }
}

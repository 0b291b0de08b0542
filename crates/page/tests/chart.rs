//! Charts of any data: well-formed, within their picture, and with the values that they were given.

use proptest::prelude::*;
use smollm3_page::{Chart, Line, Mark, page};

fn two() -> Vec<Line> {
    let line = |name: &str, y: f64| Line::new(name, vec![(1.0, y), (2.0, y + 1.0)]);
    vec![line("web", 2.0), line("math", 1.0)]
}

/// The values of an attribute, in order.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    html.split(begin.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

/// The coordinates of a path.
fn coordinates(path: &str) -> Vec<f64> {
    path.split(|c: char| c.is_ascii_alphabetic() || c == ' ')
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn lines_marks_and_names_are_in_the_picture() {
    let mark = |at, name: &str| Mark {
        at,
        name: name.to_owned(),
        is_bad: true,
    };
    let html = Chart::over_steps("nats", two())
        .with_marks(vec![mark(1.5, "spike"), mark(9.0, "beyond")])
        .html();
    for part in [
        "<svg",
        "</svg>",
        ">web<",
        ">math<",
        "nats by step",
        "data-mark=\"spike\"",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("beyond"));
    assert_eq!(attributes(&html, "data-points"), ["1,2 2,3", "1,1 2,2"]);
    assert_eq!(html.matches("class=\"curve\"").count(), 2);
    assert_eq!(Chart::over_steps("nats", vec![]).html(), "");
    let nothing = Line::new("", vec![(1.0, f64::NAN), (f64::INFINITY, 1.0), (2.0, 1e300)]);
    assert_eq!(Chart::over_steps("nats", vec![nothing]).html(), "");
    // One line needs no legend.
    assert!(
        !Chart::over_steps("nats", two()[..1].to_vec())
            .html()
            .contains("legend")
    );
}

#[test]
fn many_points_are_averaged_and_that_is_said() {
    let points = (0..1000).map(|i| (f64::from(i), f64::from(i) * 2.0)).collect();
    let html = Chart::over_steps("nats", vec![Line::new("", points)]).html();
    let values = attributes(&html, "data-points")[0].split(' ');
    let values: Vec<f64> = values
        .flat_map(|point| point.split(',').map(|x| x.parse::<f64>().unwrap()))
        .collect();
    assert!((400..=800).contains(&values.len()), "{}", values.len());
    assert!(
        values
            .chunks(2)
            .all(|point| (point[1] - 2.0 * point[0]).abs() < 1e-9)
    );
    assert!(html.contains("means of 3"));
}

#[test]
fn a_line_without_points_keeps_its_colour() {
    let line = |points| Line::new("", points);
    let html = Chart::over_steps("nats", vec![line(vec![]), line(vec![(1.0, 2.0), (2.0, 1.0)])]).html();
    assert_eq!(attributes(&html, "data-color"), ["c1"]);
    // And says which it is.
    assert_eq!(html.matches("class=\"legend\"").count(), 1);
}

#[test]
fn a_band_is_behind_its_line_and_under_the_pointer() {
    let line = Line::new("mean", vec![(0.0, 1.0), (10.0, 1.0)]);
    let banded = line.clone().with_band(vec![(0.0, 0.0, 2.0), (10.0, 0.5, 1.5)]);
    let html = Chart::over("position", "nats", vec![banded]).html();
    assert_eq!(html.matches("class=\"band\"").count(), 1);
    assert_eq!(attributes(&html, "data-points"), ["0,1,0,2 10,1,0.5,1.5"]);
    assert!(html.contains("nats by position") && !html.contains("step"));
    assert!(
        !Chart::over("position", "nats", vec![line])
            .html()
            .contains("band")
    );
}

#[test]
fn texts_stay_texts() {
    let name = "</script><b a=\"1\">&";
    let mark = Mark {
        at: 1.0,
        name: name.to_owned(),
        is_bad: false,
    };
    let lines = ["", name].map(|line| Line::new(line, vec![(1.0, 2.0)])).to_vec();
    let html = Chart::over(name, name, lines).with_marks(vec![mark]).html();
    assert!(!html.contains("<b") && !html.contains("</script") && !html.contains("a=\"1"));
    let html = page(name, &html);
    assert_eq!(html.matches("</script").count(), 1);
    for address in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(address), "the page wants {address}");
    }
}

proptest! {
    /// Whatever is drawn lies within the picture, and no value is lost or invented.
    #[test]
    fn any_data_are_drawn(
        values in prop::collection::vec(prop::option::weighted(0.9, prop::num::f64::ANY), 1..300),
        scale in -30_i32..30,
        offset in -1e6..1e6_f64,
    ) {
        let scale = 10_f64.powi(scale);
        let points: Vec<(f64, f64)> = values
            .iter()
            .enumerate()
            .map(|(step, value)| (step as f64 + 1.0, value.map_or(f64::NAN, |value| (value % 1.0) * scale + offset)))
            .collect();
        let finite: Vec<(f64, f64)> = points.iter().copied().filter(|point| point.1.is_finite()).collect();
        let band = finite.iter().map(|(x, y)| (*x, y - scale, y + scale)).collect();
        let html = Chart::over_steps("nats", vec![Line::new("any", points).with_band(band)]).html();
        if finite.is_empty() {
            prop_assert_eq!(html, "");
            return Ok(());
        }
        prop_assert!(!html.contains("NaN") && !html.contains("inf"), "{}", html);
        for path in attributes(&html, "d") {
            for number in coordinates(path) {
                prop_assert!((-0.1..=1000.1).contains(&number), "{number} in {path}");
            }
        }
        let shown: Vec<f64> = attributes(&html, "data-points")[0]
            .split(' ')
            .filter_map(|point| point.split(',').nth(1)?.parse().ok())
            .collect();
        prop_assert_eq!(shown.len(), finite.len());
        for (shown, (_, value)) in shown.iter().zip(&finite) {
            prop_assert!((shown - value).abs() <= value.abs() * 1e-5, "{shown} for {value}");
        }
        let ticks = html.matches("class=\"rule\"").count();
        prop_assert!((1..=6).contains(&ticks), "{ticks} ticks");
    }
}

//! `KEY=V1,V2,…`: the values that one setting takes, and the product of several such lists.
//!
//! Values are TOML as in `--set`, so commas inside brackets, braces and quotes belong to a value.

use std::str::FromStr;

use crate::{Result, SweepError};

/// One key and the values that it takes in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// The dotted key, as `--set` takes it.
    pub key: String,
    /// As they are written.
    pub values: Vec<String>,
}

impl FromStr for Axis {
    type Err = SweepError;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |message: String| SweepError::Grid(text.to_owned(), message);
        const EXAMPLE: &str = "write KEY=V1,V2 such as stage.pretrain.optimizer.learning_rate=1e-3,2e-3";
        let Some((key, values)) = text.split_once('=') else {
            return Err(refuse(format!("there is no `=`; {EXAMPLE}")));
        };
        let values = parts(values);
        let key = key.trim().to_owned();
        if key.is_empty() || values.iter().any(String::is_empty) {
            return Err(refuse(format!("the key or a value is empty; {EXAMPLE}")));
        }
        if let Some(twice) = (1..values.len()).find(|index| values[..*index].contains(&values[*index])) {
            return Err(refuse(format!("the value {} is listed twice", values[twice])));
        }
        Ok(Self { key, values })
    }
}

/// `text` split at its commas, but not at those inside brackets, braces and quotes.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for letter in text.chars() {
        match (letter, quote) {
            (_, Some('"')) if escaped => escaped = false,
            ('\\', Some('"')) => escaped = true,
            (_, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(letter),
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// A point of a grid: its labels and its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// `learning_rate=1e-3` for each key, in order; empty for the only point of no grid.
    pub labels: Vec<String>,
    /// `KEY=VALUE`.
    pub settings: Vec<String>,
}

/// All points, the first key's values changing last. No axes make one point without settings.
pub(crate) fn product(axes: &[Axis]) -> Result<Vec<Point>> {
    let mut points = vec![Point::default()];
    for (index, axis) in axes.iter().enumerate() {
        if axes[..index].iter().any(|other| other.key == axis.key) {
            let text = format!("{}={}", axis.key, axis.values.join(","));
            let message = "the key is in two lists; write all its values in one".to_owned();
            return Err(SweepError::Grid(text, message));
        }
        let last = last_part(&axis.key);
        // A last part that two keys share would be ambiguous.
        let is_shared = axes
            .iter()
            .any(|other| other.key != axis.key && last_part(&other.key) == last);
        let label = if is_shared { axis.key.as_str() } else { last };
        let with = |point: &Point, value: &String| {
            let mut point = point.clone();
            point.labels.push(format!("{label}={value}"));
            point.settings.push(format!("{}={value}", axis.key));
            point
        };
        let all = points
            .iter()
            .flat_map(|point| axis.values.iter().map(move |value| with(point, value)));
        points = all.collect();
    }
    Ok(points)
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

//! Training loss over steps, mean and spread over seeds.

use std::collections::BTreeMap;

use smollm3_page::Line;

use crate::{Change, Row, RunFigures, Spread};

/// Means of so many parts of a curve are drawn: single steps are noise that all variations share.
const PARTS: usize = 100;

/// A loss curve in equal parts: the last step of each and the mean of its losses.
fn parts(losses: &[(u64, f64)]) -> BTreeMap<u64, f64> {
    let size = losses.len().div_ceil(PARTS).max(1);
    let mean = |part: &[(u64, f64)]| {
        let sum: f64 = part.iter().map(|(_, loss)| loss).sum();
        Some((part.last()?.0, sum / part.len() as f64))
    };
    losses.chunks(size).filter_map(mean).collect()
}

fn losses<'a>(figures: &'a RunFigures, stage: &str) -> Option<&'a [(u64, f64)]> {
    let stage = figures.stages.iter().find(|own| own.name == stage)?;
    Some(&stage.losses)
}

/// The mean loss of a variation over its seeds, with a band of one standard deviation to each side.
pub(crate) fn mean(row: &Row, stage: &str) -> Line {
    let mut by_step: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for losses in row.figures.values().filter_map(|figures| losses(figures, stage)) {
        for (step, loss) in parts(losses) {
            by_step.entry(step).or_default().push(loss);
        }
    }
    let points = by_step.into_iter().filter_map(|(step, losses)| {
        let spread = Spread::of(&losses)?;
        Some((step as f64, spread.mean, spread.deviation))
    });
    with_band(&row.variation, points.collect())
}

/// The mean difference to the reference, paired by seed, with a band of one standard error to each side.
pub(crate) fn difference(row: &Row, reference: &Row, stage: &str) -> Line {
    let mut by_step: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for (seed, figures) in &row.figures {
        let theirs = reference
            .figures
            .get(seed)
            .and_then(|figures| losses(figures, stage));
        let (Some(ours), Some(theirs)) = (losses(figures, stage), theirs) else {
            continue;
        };
        let theirs = parts(theirs);
        for (step, loss) in parts(ours) {
            if let Some(other) = theirs.get(&step) {
                by_step.entry(step).or_default().push((loss, *other));
            }
        }
    }
    let points = by_step.into_iter().filter_map(|(step, pairs)| {
        let change = Change::of(&pairs)?;
        Some((step as f64, change.mean, change.standard_error))
    });
    with_band(&row.variation, points.collect())
}

/// Loss by position, with a band of one standard deviation to each side.
pub(crate) fn by_position(row: &Row, stage: &str) -> Line {
    let mut by_position: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for figures in row.figures.values() {
        let stages = figures.stages.iter().filter(|own| own.name == stage);
        for part in stages.flat_map(|stage| &stage.positions) {
            by_position
                .entry((part.from, part.to))
                .or_default()
                .push(part.loss);
        }
    }
    let points = by_position.into_iter().filter_map(|((from, to), losses)| {
        let spread = Spread::of(&losses)?;
        Some(((from + to) as f64 / 2.0, spread.mean, spread.deviation))
    });
    with_band(&row.variation, points.collect())
}

fn with_band(name: &str, points: Vec<(f64, f64, Option<f64>)>) -> Line {
    let band = points
        .iter()
        .filter_map(|(x, mean, width)| Some((*x, mean - (*width)?, mean + (*width)?)))
        .collect();
    Line::new(name, points.iter().map(|(x, mean, _)| (*x, *mean)).collect()).with_band(band)
}

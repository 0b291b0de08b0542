//! The figures of what a stage's checkpoint can do: one list for the table at the end of a run and for the report.

use std::collections::BTreeSet;

use smollm3_records::{Evaluation, Mode, ModeScore};

use crate::StageFiles;

/// A mean, with its standard error where that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub mean: f64,
    pub error: Option<f64>,
}

impl Figure {
    fn new(mean: f64, error: f64) -> Self {
        Self {
            mean,
            error: Some(error),
        }
    }

    /// The mean of independent means.
    fn mean_of(figures: &[(f64, f64)]) -> Option<Self> {
        let count = figures.len() as f64;
        let mean = figures.iter().map(|(mean, _)| mean).sum::<f64>() / count;
        let squares: f64 = figures.iter().map(|(_, error)| error.powi(2)).sum();
        (!figures.is_empty()).then(|| Self::new(mean, squares.sqrt() / count))
    }

    /// Whether two figures differ by more than twice the standard error of their difference, taken as independent; `None`
    /// where an error is unknown.
    pub fn differs(self, other: Self) -> Option<bool> {
        let error = self.error?.hypot(other.error?);
        Some((self.mean - other.mean).abs() > 2.0 * error)
    }
}

/// Something that is measured of checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Measure {
    /// Loss on held-out text of a category, nats a token.
    HeldOut(String),
    /// Loss at the last positions of long documents (`from..to`), nats a token.
    Late { from: usize, to: usize },
    /// What is found in texts of this length.
    Found(usize),
    /// Sums that are right.
    Sums { think: bool },
    /// Right sums that are likelier than wrong ones, over both modes.
    Pairs,
}

/// What was measured of any of these stages.
pub(crate) fn measures(stages: &[StageFiles]) -> Vec<Measure> {
    let all = || stages.iter().filter_map(|stage| stage.evaluation.as_ref());
    let evaluated: BTreeSet<&String> = all().flat_map(|found| found.held_out.keys()).collect();
    let categories = match evaluated.is_empty() {
        // What was measured on the way, where nothing was measured at the end.
        true => stages
            .iter()
            .flat_map(|stage| &stage.held_out)
            .map(|record| &record.category)
            .collect(),
        false => evaluated,
    };
    let mut measures: Vec<Measure> = categories.into_iter().cloned().map(Measure::HeldOut).collect();
    let last = all()
        .flat_map(|found| &found.loss_by_position)
        .max_by_key(|part| part.to);
    measures.extend(last.map(|part| Measure::Late {
        from: part.from,
        to: part.to,
    }));
    // A column of zeros is left out; the legend mentions it.
    let found = all()
        .flat_map(|found| &found.long_context)
        .filter(|score| score.score > 0.0);
    measures.extend(found.map(|score| score.length).max().map(Measure::Found));
    if all().any(|found| !found.exact_match.is_empty()) {
        measures.extend([true, false].map(|think| Measure::Sums { think }));
    }
    if all().any(|found| !found.preference.is_empty()) {
        measures.push(Measure::Pairs);
    }
    measures
}

impl Measure {
    /// The title of its column.
    pub fn name(&self) -> String {
        match self {
            Self::HeldOut(category) => category.clone(),
            Self::Late { .. } => "late".to_owned(),
            Self::Found(_) => "found".to_owned(),
            Self::Sums { think } => Mode::of(*think).to_string(),
            Self::Pairs => "pairs".to_owned(),
        }
    }

    /// Whether less is better.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::HeldOut(_) | Self::Late { .. })
    }

    /// What was found of a stage's last checkpoint.
    pub fn of(&self, stage: &StageFiles) -> Option<Figure> {
        let found = stage.evaluation.as_ref();
        let scores = |scores: fn(&Evaluation) -> &Vec<ModeScore>| found.into_iter().flat_map(scores);
        match self {
            Self::HeldOut(category) => {
                let evaluated = found.and_then(|found| found.held_out.get(category));
                let on_the_way = || {
                    let until = stage.best.unwrap_or(u64::MAX);
                    let mut records = stage.held_out.iter().rev();
                    let last = records.find(|record| record.category == *category && record.step <= until);
                    last.map(|record| record.nats_per_token)
                };
                let mean = evaluated.map(|loss| loss.nats_per_token).or_else(on_the_way)?;
                Some(Figure { mean, error: None })
            }
            Self::Late { to, .. } => {
                let part = found?.loss_by_position.iter().find(|part| part.to == *to)?;
                Some(Figure::new(part.loss, part.standard_error))
            }
            Self::Found(length) => {
                let scores = found?.long_context.iter().filter(|score| score.length == *length);
                let scores: Vec<_> = scores.map(|score| (score.score, score.standard_error)).collect();
                Figure::mean_of(&scores)
            }
            Self::Sums { think } => scores(|found| &found.exact_match)
                .find(|score| score.think == *think)
                .map(|score| Figure::new(score.score, score.standard_error)),
            Self::Pairs => {
                let scores = scores(|found| &found.preference);
                let scores: Vec<_> = scores.map(|score| (score.score, score.standard_error)).collect();
                Figure::mean_of(&scores)
            }
        }
    }

    /// A figure as a cell: nats, or percent without the sign.
    pub fn cell(&self, figure: Figure) -> String {
        match (self.is_loss(), figure.error) {
            (true, Some(error)) => format!("{:.2} ± {error:.2}", figure.mean),
            (true, None) => format!("{:.3}", figure.mean),
            (false, Some(error)) => format!("{:.0} ± {:.0}", 100.0 * figure.mean, 100.0 * error),
            (false, None) => format!("{:.0}", 100.0 * figure.mean),
        }
    }

    /// A figure in a sentence.
    pub fn phrase(&self, figure: Figure) -> String {
        let percent = if self.is_loss() { "" } else { " %" };
        self.cell(figure) + percent
    }

    /// A change as a cell.
    pub fn change(&self, from: Figure, to: Figure) -> String {
        let change = to.mean - from.mean;
        let text = match self.is_loss() {
            true if to.error.is_some() => format!("{change:+.2}"),
            true => format!("{change:+.3}"),
            false => format!("{:+.0}", 100.0 * change),
        };
        text.replace('-', "−")
    }
}

/// What the columns are, a line each.
pub(crate) fn legend(measures: &[Measure], stages: &[StageFiles]) -> Vec<String> {
    let all = || stages.iter().filter_map(|stage| stage.evaluation.as_ref());
    let mut lines = Vec::new();
    let losses = measures
        .iter()
        .filter(|measure| matches!(measure, Measure::HeldOut(_)));
    let categories: Vec<String> = losses.map(Measure::name).collect();
    if !categories.is_empty() {
        let names = categories.join(", ");
        lines.push(format!(
            "{names}: loss on text kept out of training, nats/token; less is better"
        ));
    }
    for measure in measures {
        match measure {
            Measure::Late { from, to } => lines.push(format!(
                "late: the same at positions {from} to {} of long texts",
                to - 1
            )),
            Measure::Found(length) => lines.push(format!(
                "found: % of what is asked for in texts of {length} tokens"
            )),
            Measure::HeldOut(_) | Measure::Sums { .. } | Measure::Pairs => {}
        }
    }
    let sums = all().find_map(|found| found.exact_match.first());
    let pairs = all().find_map(|found| found.preference.first());
    let sums = sums.map(|score| format!("/think, /no_think: % of {} sums right", score.items));
    let pairs = pairs.map(|score| 2 * score.items);
    let pairs = pairs.map(|items| format!("pairs: % of {items} in which the preferred answer is likelier"));
    let both: Vec<String> = sums.into_iter().chain(pairs).collect();
    if !both.is_empty() {
        lines.push(both.join("; "));
    }
    let probes: Vec<_> = all().flat_map(|found| &found.long_context).collect();
    if !probes.is_empty() && probes.iter().all(|probe| probe.score == 0.0) {
        lines.push("Facts asked for in long texts: none was found after any stage.".to_owned());
    }
    lines
}

//! What the table of stages says about the recipe's claims, in words: only what the numbers carry.

use smollm3_engine::HeldOutRecord;
use smollm3_eval::{Evaluation, Mode};
use smollm3_recipe::{Stage, StageKind, Start};

/// A mean with its standard error.
#[derive(Debug, Clone, Copy)]
struct Found {
    mean: f64,
    error: f64,
}

impl Found {
    fn percent(self) -> String {
        format!("{:.0} ± {:.0} %", 100.0 * self.mean, 100.0 * self.error)
    }

    fn nats(self) -> String {
        format!("{:.2} ± {:.2}", self.mean, self.error)
    }

    /// Whether the difference is more than twice its standard error, as if the two were measured apart.
    fn differs(self, other: Self) -> bool {
        (self.mean - other.mean).abs() > 2.0 * self.error.hypot(other.error)
    }
}

/// `differs` in words.
fn verdict(differs: bool) -> &'static str {
    if differs { "" } else { ", within the error" }
}

/// One line a claim of which something was measured: the later mixtures, thinking, preferences and the merge.
pub fn findings(
    stages: &[Stage],
    phases: &[HeldOutRecord],
    evaluations: &[(&str, Evaluation)],
) -> Vec<String> {
    [
        mixtures(phases),
        thinking(evaluations),
        alignment(stages, evaluations),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What fell most over the phases of the first stage with several.
fn mixtures(records: &[HeldOutRecord]) -> Option<String> {
    let first = records.first()?;
    let of = |category: &str| {
        let mut found = records.iter().filter(|record| record.category == category);
        let begin = found.next()?;
        let stage_end = found.take_while(|record| record.step > begin.step).last()?;
        Some((
            begin.nats_per_token,
            stage_end.nats_per_token,
            stage_end.phase.clone(),
        ))
    };
    let mut categories: Vec<&str> = records.iter().map(|record| record.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    let mut falls: Vec<(f64, &str, f64, f64, String)> = categories
        .into_iter()
        .filter(|category| *category != "conversations")
        .filter_map(|category| {
            let (begin, end, phase) = of(category)?;
            Some((begin - end, category, begin, end, phase))
        })
        .collect();
    falls.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (_, _, _, _, last) = falls.first()?.clone();
    let parts: Vec<String> = falls
        .iter()
        .map(|(_, category, begin, end, _)| format!("{category} {begin:.2} to {end:.2}"))
        .collect();
    Some(format!(
        "Mixtures: from {} to {last}, held-out nats/token: {}; {} changed most.",
        first.phase,
        parts.join(", "),
        falls.first()?.1
    ))
}

/// What thinking is worth, after the stage that answers most sums right.
fn thinking(evaluations: &[(&str, Evaluation)]) -> Option<String> {
    let best = evaluations.iter().max_by(|(_, a), (_, b)| {
        let right = |found: &Evaluation| {
            found
                .exact_match
                .iter()
                .map(|score| score.score)
                .fold(0.0, f64::max)
        };
        right(a).total_cmp(&right(b))
    });
    let (stage, found) = best?;
    let of = |think: bool| {
        let score = found.exact_match.iter().find(|score| score.think == think)?;
        Some(Found {
            mean: score.score,
            error: score.standard_error,
        })
    };
    let (with, without) = (of(true)?, of(false)?);
    Some(format!(
        "Thinking: after {stage}, {} of the sums are right with {} and {} with {}{}.",
        with.percent(),
        Mode::Think,
        without.percent(),
        Mode::NoThink,
        verdict(with.differs(without))
    ))
}

/// What preferences cost on long texts and in sums, and whether the merge brings it back.
fn alignment(stages: &[Stage], evaluations: &[(&str, Evaluation)]) -> Option<String> {
    let started_from = |stage: &Stage, name: &str| matches!(&stage.from, Start::Stage(from) if from == name);
    let apo = stages.iter().find(|stage| stage.preference().is_some())?;
    let before = stages.iter().find(|stage| started_from(apo, &stage.name))?;
    let merged = stages
        .iter()
        .find(|stage| matches!(stage.kind, StageKind::Merge(_)) && started_from(stage, &apo.name))?;
    let of = |stage: &Stage| evaluations.iter().find(|(name, _)| *name == stage.name);
    let (before, after, merged) = (of(before)?, of(apo)?, of(merged)?);
    let late = |(_, found): &(&str, Evaluation)| {
        let part = found.loss_by_position.iter().max_by_key(|part| part.to)?;
        Some(Found {
            mean: part.loss,
            error: part.standard_error,
        })
    };
    let prefers = |(_, found): &(&str, Evaluation)| {
        let scores = &found.preference;
        let count = scores.len() as f64;
        let squares: f64 = scores.iter().map(|score| score.standard_error.powi(2)).sum();
        let mean = scores.iter().map(|score| score.score).sum::<f64>() / count;
        let error = squares.sqrt() / count;
        (!scores.is_empty()).then_some(Found { mean, error })
    };
    let preferred = (prefers(before)?, prefers(after)?);
    let losses = (late(before)?, late(after)?, late(merged)?);
    Some(format!(
        "Preferences: right sums are likelier in {} of the pairs after {} and {} after {}{}; loss at late positions is {} after \
         {}, {} after {}{}, {} after {}{}.",
        preferred.0.percent(),
        before.0,
        preferred.1.percent(),
        after.0,
        verdict(preferred.0.differs(preferred.1)),
        losses.0.nats(),
        before.0,
        losses.1.nats(),
        after.0,
        verdict(losses.0.differs(losses.1)),
        losses.2.nats(),
        merged.0,
        verdict(losses.1.differs(losses.2)),
    ))
}

#[cfg(test)]
mod tests {
    use smollm3_eval::{ModeScore, PositionLoss};
    use smollm3_recipe::Recipe;

    use super::*;

    fn record(phase: &str, step: u64, category: &str, loss: f64) -> HeldOutRecord {
        HeldOutRecord {
            step,
            phase: phase.to_owned(),
            category: category.to_owned(),
            nats_per_token: loss,
            bits_per_byte: 1.0,
            tokens: 100,
        }
    }

    fn evaluation(late: f64, right: [f64; 2], prefers: f64) -> Evaluation {
        let modes = [true, false];
        Evaluation {
            checkpoint: String::new(),
            step: 1,
            asked: smollm3_recipe::Evaluation::default(),
            long_context: Vec::new(),
            loss_by_position: vec![PositionLoss {
                from: 512,
                to: 1024,
                loss: late,
                standard_error: 0.05,
                documents: 9,
            }],
            exact_match: modes
                .into_iter()
                .zip(right)
                .map(|(think, score)| ModeScore {
                    think,
                    items: 100,
                    score,
                    standard_error: 0.05,
                })
                .collect(),
            held_out: std::collections::BTreeMap::new(),
            preference: modes
                .into_iter()
                .map(|think| ModeScore {
                    think,
                    items: 100,
                    score: prefers,
                    standard_error: 0.04,
                })
                .collect(),
        }
    }

    #[test]
    fn only_what_was_measured_is_claimed() {
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/demo");
        let stages = Recipe::load(recipe.as_ref(), &[]).unwrap().stages;
        assert!(findings(&stages, &[], &[]).is_empty());
        let phases = [
            record("phase-1", 10, "math", 2.0),
            record("phase-1", 10, "web", 4.0),
            record("phase-2", 20, "math", 1.5),
            record("phase-2", 20, "web", 3.75),
            // Of the next stage: its steps count from 1 again.
            record("long", 5, "math", 1.0),
        ];
        let evaluations = [
            ("sft", evaluation(4.0, [0.6, 0.05], 0.5)),
            ("apo", evaluation(4.05, [0.57, 0.07], 0.9)),
            ("merged", evaluation(4.5, [0.2, 0.05], 0.6)),
        ];
        let found = findings(&stages, &phases, &evaluations);
        assert_eq!(
            found,
            [
                "Mixtures: from phase-1 to phase-2, held-out nats/token: math 2.00 to 1.50, web 4.00 to 3.75; math changed most.",
                "Thinking: after sft, 60 ± 5 % of the sums are right with /think and 5 ± 5 % with /no_think.",
                "Preferences: right sums are likelier in 50 ± 3 % of the pairs after sft and 90 ± 3 % after apo; loss at late \
                 positions is 4.00 ± 0.05 after sft, 4.05 ± 0.05 after apo, within the error, 4.50 ± 0.05 after merged.",
            ]
        );
        let equal = [("sft", evaluation(4.0, [0.06, 0.05], 0.5))];
        let found = findings(&stages, &[], &equal);
        assert_eq!(
            found,
            [
                "Thinking: after sft, 6 ± 5 % of the sums are right with /think and 5 ± 5 % with /no_think, within the error."
            ]
        );
    }
}

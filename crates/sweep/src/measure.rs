//! What is compared of finished runs.

use serde::{Deserialize, Serialize};

use crate::StageFigures;

/// A kind of measure, as `measures` in `sweep.toml` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Loss on held-out text, over all categories.
    HeldOut,
    /// The same, category by category.
    HeldOutByCategory,
    /// Loss at some positions of long held-out documents.
    LossByPosition,
    /// What is found in long texts.
    Retrieval,
    /// Tokens a second.
    Speed,
}

impl Measure {
    /// All of them.
    pub fn all() -> Vec<Self> {
        vec![
            Self::HeldOut,
            Self::HeldOutByCategory,
            Self::LossByPosition,
            Self::Retrieval,
            Self::Speed,
        ]
    }
}

/// One thing that was measured of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// The stage.
    pub stage: String,
    /// What, in words.
    pub name: String,
    /// Its kind.
    pub kind: Measure,
}

impl Measured {
    /// What it is measured in.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Measure::HeldOut | Measure::HeldOutByCategory | Measure::LossByPosition => "nats/token",
            Measure::Retrieval => "%",
            Measure::Speed => "tokens/s",
        }
    }

    /// Decimals worth showing.
    pub(crate) fn digits(&self) -> usize {
        match self.kind {
            Measure::HeldOut | Measure::HeldOutByCategory | Measure::LossByPosition => 4,
            Measure::Retrieval => 1,
            Measure::Speed => 0,
        }
    }
}

/// The measures of `kinds` that a stage has, in their order.
pub(crate) fn of_stage(stage: &StageFigures, kinds: &[Measure]) -> Vec<(Measured, f64)> {
    let mut all = Vec::new();
    for &kind in kinds {
        let mut add = |name: String, value: f64| {
            if value.is_finite() {
                let stage = stage.name.clone();
                all.push((Measured { stage, name, kind }, value));
            }
        };
        match kind {
            Measure::HeldOut => {
                if let Some(loss) = stage.held_out_overall() {
                    add("held-out loss".to_owned(), loss);
                }
            }
            Measure::HeldOutByCategory => {
                for (category, (loss, _)) in &stage.held_out {
                    add(format!("held-out {category}"), *loss);
                }
            }
            Measure::LossByPosition => {
                for part in &stage.positions {
                    let last = part.to.saturating_sub(1);
                    add(format!("loss at {} to {last}", part.from), part.loss);
                }
            }
            Measure::Retrieval => {
                for score in &stage.retrieval {
                    add(format!("{} in {}", score.task, score.length), 100.0 * score.score);
                }
            }
            Measure::Speed => {
                if let Some(rate) = stage.tokens_per_second {
                    add("speed".to_owned(), rate);
                }
            }
        }
    }
    all
}

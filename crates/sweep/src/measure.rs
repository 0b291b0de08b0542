//! What is compared of finished runs.

use serde::{Deserialize, Serialize};

use crate::FoundStage;

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

    /// Digits after the point that are worth showing.
    pub(crate) fn digits(&self) -> usize {
        match self.kind {
            Measure::HeldOut | Measure::HeldOutByCategory | Measure::LossByPosition => 4,
            Measure::Retrieval => 1,
            Measure::Speed => 0,
        }
    }
}

/// The measures of `kinds` that a stage has, in their order.
pub(crate) fn of_stage(stage: &FoundStage, kinds: &[Measure]) -> Vec<(Measured, f64)> {
    let mut all = Vec::new();
    for kind in kinds {
        let found: Vec<(String, f64)> = match kind {
            Measure::HeldOut => stage
                .held_out_overall()
                .map(|loss| ("held-out loss".to_owned(), loss))
                .into_iter()
                .collect(),
            Measure::HeldOutByCategory => {
                let categories = stage.held_out.iter();
                categories
                    .map(|(category, (loss, _))| (format!("held-out {category}"), *loss))
                    .collect()
            }
            Measure::LossByPosition => {
                let parts = stage.positions.iter();
                parts
                    .map(|part| {
                        (
                            format!("loss at {} to {}", part.from, part.to.saturating_sub(1)),
                            part.loss,
                        )
                    })
                    .collect()
            }
            Measure::Retrieval => {
                let scores = stage.retrieval.iter();
                scores
                    .map(|score| {
                        (
                            format!("{} in {}", score.task.name(), score.length),
                            100.0 * score.score,
                        )
                    })
                    .collect()
            }
            Measure::Speed => stage
                .tokens_per_second
                .map(|rate| ("speed".to_owned(), rate))
                .into_iter()
                .collect(),
        };
        all.extend(
            found
                .into_iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(name, value)| {
                    let measured = Measured {
                        stage: stage.name.clone(),
                        name,
                        kind: *kind,
                    };
                    (measured, value)
                }),
        );
    }
    all
}

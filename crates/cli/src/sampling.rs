//! How tokens are drawn, as it is typed.

use anyhow::{Result, bail};
use smollm3_model::Sampling;

use crate::args::{AnswerArgs, SamplingArgs};

impl From<&SamplingArgs> for Sampling {
    fn from(wanted: &SamplingArgs) -> Self {
        Self {
            temperature: wanted.temperature,
            top_k: wanted.top_k,
            top_p: wanted.top_p,
            min_p: wanted.min_p,
            repetition_penalty: wanted.repetition_penalty,
            seed: wanted.seed,
        }
    }
}

impl From<&AnswerArgs> for Sampling {
    fn from(wanted: &AnswerArgs) -> Self {
        Self {
            temperature: wanted.temperature,
            top_k: wanted.top_k,
            top_p: wanted.top_p,
            min_p: wanted.min_p,
            repetition_penalty: wanted.repetition_penalty,
            seed: wanted.seed,
        }
    }
}

impl SamplingArgs {
    /// How tokens are drawn.
    ///
    /// # Errors
    /// The option that is out of its range, or that says nothing where the most probable token is taken.
    pub fn drawn(&self) -> Result<Sampling> {
        let unheeded = [
            ("--top-k", self.top_k != 0),
            ("--top-p", self.top_p < 1.0),
            ("--min-p", self.min_p > 0.0),
            ("--seed", self.seed != 0),
        ];
        match unheeded
            .iter()
            .find(|(_, given)| *given && self.temperature == 0.0)
        {
            Some((option, _)) => {
                bail!(
                    "{option} says nothing at temperature 0, where the most probable token is taken; write --temperature too"
                )
            }
            None => drawn(self.into()),
        }
    }
}

/// The same, if tokens can be drawn that way.
///
/// # Errors
/// The option that is out of its range.
pub fn drawn(sampling: Sampling) -> Result<Sampling> {
    let at_least_zero = |value: f64| value.is_finite() && value >= 0.0;
    for (option, value, good, due) in [
        (
            "temperature",
            sampling.temperature,
            at_least_zero(sampling.temperature),
            "0 or more",
        ),
        (
            "top-p",
            sampling.top_p,
            sampling.top_p > 0.0 && sampling.top_p <= 1.0,
            "more than 0, at most 1",
        ),
        (
            "min-p",
            sampling.min_p,
            (0.0..=1.0).contains(&sampling.min_p),
            "0 to 1",
        ),
        (
            "repetition-penalty",
            sampling.repetition_penalty,
            at_least_zero(sampling.repetition_penalty) && sampling.repetition_penalty > 0.0,
            "more than 0",
        ),
    ] {
        if !good {
            bail!("--{option} {value}: write {due}");
        }
    }
    Ok(sampling)
}

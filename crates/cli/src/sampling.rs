//! How tokens are drawn, as it is typed.

use anyhow::{Result, bail};
use smollm3_model::Sampling;

use crate::args::{AnswerArgs, SamplingArgs};

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
    /// How tokens are drawn: as the options say, else as the checkpoint does.
    ///
    /// # Errors
    /// The option that is out of its range, or that has no effect where the most probable token is taken.
    pub fn over(&self, checkpoint: &Sampling) -> Result<Sampling> {
        let temperature = self.temperature.unwrap_or(checkpoint.temperature);
        let of_draws = [
            ("--top-k", self.top_k.is_some_and(|k| k != 0)),
            ("--top-p", self.top_p.is_some_and(|part| part < 1.0)),
            ("--min-p", self.min_p.is_some_and(|part| part > 0.0)),
            ("--seed", self.seed != 0),
        ];
        if let Some((option, _)) = of_draws.iter().find(|(_, given)| *given && temperature == 0.0) {
            bail!(
                "{option} has no effect at temperature 0, where the most probable token is taken; write --temperature too"
            );
        }
        drawn(Sampling {
            temperature,
            top_k: self.top_k.unwrap_or(checkpoint.top_k),
            top_p: self.top_p.unwrap_or(checkpoint.top_p),
            min_p: self.min_p.unwrap_or(checkpoint.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(checkpoint.repetition_penalty),
            seed: self.seed,
        })
    }
}

/// The same, if tokens can be drawn that way.
///
/// # Errors
/// The option that is out of its range.
pub fn drawn(sampling: Sampling) -> Result<Sampling> {
    match sampling.problem() {
        None => Ok(sampling),
        Some((name, value, due)) => bail!("--{} {value}: write {due}", name.replace('_', "-")),
    }
}

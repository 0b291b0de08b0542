//! Sampling options.

use anyhow::{Result, bail};
use smollm3_model::Sampling;

use crate::args::SamplingArgs;

impl SamplingArgs {
    /// The options, with the checkpoint's defaults.
    ///
    /// # Errors
    /// Names an option that is out of range, or that has no effect at temperature 0.
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
                "{option} has no effect at temperature 0, which takes the most probable token; write --temperature too"
            );
        }
        checked(Sampling {
            temperature,
            top_k: self.top_k.unwrap_or(checkpoint.top_k),
            top_p: self.top_p.unwrap_or(checkpoint.top_p),
            min_p: self.min_p.unwrap_or(checkpoint.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(checkpoint.repetition_penalty),
            seed: self.seed,
        })
    }
}

/// Checks sampling options.
///
/// # Errors
/// Names an option that is out of range.
pub fn checked(sampling: Sampling) -> Result<Sampling> {
    match sampling.problem() {
        None => Ok(sampling),
        Some((name, value, due)) => bail!("--{} {value}: write {due}", name.replace('_', "-")),
    }
}

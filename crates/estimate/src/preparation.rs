//! The work of turning a recipe's text into tokens, before its first step.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use smollm3_corpus::store::TokenWidth;
use smollm3_recipe::{Facts, StagePlan};

use crate::figures::grouped;

/// Bytes of text that a token stands for, roughly: 45 TB for the 11.2T tokens of SmolLM3.
const TEXT_BYTES: u64 = 4;

/// Bytes of text that a core tokenises in a second, from rows to token stores: half of what `bench tokenize` reaches with two
/// threads on two cores (62 to 83 MB/s, docs/benchmarks.md).
const BYTES_PER_SECOND: f64 = 35e6;

/// The work of `smollm3 data prepare` or `data tokenize` that is still to be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preparation {
    /// Tokens that pretraining draws from sources without a store. Text that is read twice counts twice.
    pub tokens: u64,
    /// Bytes of their text, uncompressed, about.
    pub text_bytes: u64,
    /// Bytes of their token stores.
    pub store_bytes: u64,
    /// Hours of one core.
    pub core_hours: f64,
    /// The cores of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u64>,
}

impl Preparation {
    /// `None` if nothing is left to tokenise.
    pub(crate) fn of(
        stages: &[StagePlan],
        facts: &Facts,
        vocab_size: usize,
        cores: Option<u64>,
    ) -> Option<Self> {
        let mut sources: BTreeMap<&str, u64> = BTreeMap::new();
        for source in stages
            .iter()
            .flat_map(|stage| &stage.phases)
            .flat_map(|phase| &phase.sources)
        {
            let tokens = sources.entry(&source.name).or_default();
            *tokens = tokens.saturating_add(source.tokens);
        }
        let missing = sources
            .iter()
            .filter(|(name, _)| !facts.stores.contains_key(**name));
        let tokens = missing.fold(0_u64, |sum, (_, tokens)| sum.saturating_add(*tokens));
        let text_bytes = tokens.saturating_mul(TEXT_BYTES);
        let width = TokenWidth::for_vocab(vocab_size as u64).bytes();
        (tokens > 0).then(|| Self {
            tokens,
            text_bytes,
            store_bytes: tokens.saturating_mul(width),
            core_hours: text_bytes as f64 / BYTES_PER_SECOND / 3600.0,
            cores,
        })
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "to tokenise: {} of text to {} of tokens; {} on a core",
            terabytes(self.text_bytes),
            terabytes(self.store_bytes),
            hours(self.core_hours),
        )?;
        match self.cores {
            Some(cores) => {
                let here = hours(self.core_hours / cores.max(1) as f64);
                write!(f, ", {here} on {}", grouped(cores))
            }
            None => Ok(()),
        }
    }
}

fn terabytes(bytes: u64) -> String {
    match bytes as f64 {
        large if large >= 1e11 => format!("{:.1} TB", large / 1e12),
        large if large >= 1e8 => format!("{:.1} GB", large / 1e9),
        small => format!("{:.1} MB", small / 1e6),
    }
}

fn hours(hours: f64) -> String {
    match hours * 3600.0 {
        seconds if seconds >= 3600.0 => format!("{hours:.1} hours"),
        seconds if seconds >= 60.0 => format!("{:.1} minutes", seconds / 60.0),
        seconds => format!("{:.1} seconds", seconds),
    }
}

//! What a pretraining stage reads: windows of token stores in the mixer's order, as rows.

use std::collections::BTreeMap;

use smollm3_engine::{EngineError, Result, Row, Share};
use smollm3_mixer::{
    Mixer, MixerConfig, Order as Blend, PhaseWeights, Pick, Sequence, SourceInfo, SourceReader, WindowOrder,
    Windows,
};
use smollm3_recipe::{Order, Recipe, Training};
use smollm3_sources::Data;

/// Steps ahead of the one being read whose files are asked for, where they come over a network.
const PREFETCH_STEPS: u64 = 32;

/// The order of a stage's data. `windows` says how many each source has, as far as that is known.
///
/// # Errors
/// The data do not last for the stage, or a share is too small to be kept.
pub fn stage_order(
    recipe: &Recipe,
    training: &Training,
    windows: impl Fn(&str) -> Option<Windows>,
) -> Result<Mixer> {
    let names = stage_sources(training);
    let index: BTreeMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (name.as_str(), i))
        .collect();
    let sources = names.iter().map(|name| SourceInfo {
        name: name.clone(),
        windows: windows(name),
        max_epochs: f64::from(recipe.sources.get(name).map_or(1, |source| source.max_epochs)),
    });
    let phases = training
        .phases
        .iter()
        .zip(training.phase_steps())
        .map(|(phase, steps)| PhaseWeights {
            sequences: (steps.end() + 1 - steps.start()) * training.sequences_per_step(),
            weights: phase
                .mixture
                .weights()
                .into_iter()
                .filter_map(|(name, weight)| Some((*index.get(name.as_str())?, weight)))
                .collect(),
        });
    Ok(Mixer::new(MixerConfig {
        seed: recipe.run.seed,
        order: match recipe.data.order {
            Order::Even => Blend::Even,
            Order::Greedy => Blend::Greedy,
        },
        windows: WindowOrder::Permuted,
        sequence_length: training.sequence_length.0,
        global_batch: training.sequences_per_step(),
        phases: phases.collect(),
        sources: sources.collect(),
    })?)
}

/// The sources that a stage reads, each once.
fn stage_sources(training: &Training) -> Vec<String> {
    let mut names: Vec<String> = training
        .phases
        .iter()
        .flat_map(|phase| phase.mixture.weights())
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The rows of every step of a stage: a pure function of recipe, data and step.
pub struct MixedRows {
    mixer: Mixer,
    /// One a source, in the mixer's order.
    readers: Vec<SourceReader>,
    streams: bool,
}

impl MixedRows {
    /// The rows of one stage of `recipe`.
    ///
    /// # Errors
    /// The data do not last for the stage, or a store cannot be read.
    pub fn new(recipe: &Recipe, training: &Training, data: &Data) -> Result<Self> {
        let mut readers = BTreeMap::new();
        for name in stage_sources(training) {
            let reader = data.reader(&name, training.sequence_length.0)?;
            readers.insert(name, reader);
        }
        let mixer = stage_order(recipe, training, |name| {
            readers.get(name).map(SourceReader::windows)
        })?;
        // Both are sorted by name.
        let readers: Vec<SourceReader> = readers.into_values().collect();
        let streams = readers
            .iter()
            .any(|reader| matches!(reader, SourceReader::Streamed(_)));
        Ok(Self {
            mixer,
            readers,
            streams,
        })
    }

    /// The order that the rows come in.
    pub fn order(&self) -> &Mixer {
        &self.mixer
    }

    /// The sequences of a step, in batch order.
    ///
    /// # Errors
    /// The step is not one of the stage's, or a store cannot be read.
    pub fn sequences(&self, step: u64) -> Result<Vec<Sequence>> {
        let sequences = self.picked(step, None)?.into_iter().map(|(_, sequence)| sequence);
        Ok(sequences.collect())
    }

    /// The sequences of a step, or of a share of it, with the index of their source.
    fn picked(&self, step: u64, share: Option<&Share>) -> Result<Vec<(usize, Sequence)>> {
        let picks = |step| -> Result<Vec<Pick>> {
            let picks = self.mixer.batch(step)?;
            match share {
                Some(share) => share.of(picks),
                None => Ok(picks),
            }
        };
        let ahead = match self.streams {
            true => picks((step + PREFETCH_STEPS).min(self.mixer.steps()))?,
            false => Vec::new(),
        };
        let picks = picks(step)?;
        let mut picked = Vec::with_capacity(picks.len());
        // Source by source, so that no more than one streamed file is held at a time: ranks share the room for them.
        for (source, reader) in self.readers.iter().enumerate() {
            for (number, pick) in picks.iter().enumerate().filter(|(_, pick)| pick.source == source) {
                let place = pick
                    .place
                    .ok_or_else(|| EngineError::Refused(format!("step {step} has no data")))?;
                picked.push((number, (source, reader.read(place.window)?)));
            }
            // While this step's file is held, which must not make room for a later one.
            for pick in ahead.iter().filter(|pick| pick.source == source) {
                if let Some(place) = pick.place {
                    reader.prefetch(place.window);
                }
            }
            reader.release();
        }
        picked.sort_unstable_by_key(|(number, _)| *number);
        Ok(picked.into_iter().map(|(_, sequence)| sequence).collect())
    }

    /// A rank's rows of a step, in batch order.
    ///
    /// # Errors
    /// As [`MixedRows::sequences`].
    pub fn rows(&self, step: u64, share: &Share) -> Result<Vec<Row>> {
        let picked = self.picked(step, Some(share))?;
        Ok(picked
            .iter()
            .map(|(source, sequence)| row_of(sequence, *source))
            .collect())
    }
}

/// The row of a window of the source with this index.
pub(crate) fn row_of(sequence: &Sequence, source: usize) -> Row {
    Row {
        ids: sequence.inputs().to_vec(),
        targets: sequence.targets(),
        starts: sequence.document_starts(),
        source,
    }
}

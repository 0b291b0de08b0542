//! The data of a stage on token rows: windows of token stores in the mixer's order.

use std::collections::BTreeMap;

use smollm3_engine::{Dataset, EngineError, RankSlice, Result, Row, StepBatches};
use smollm3_mixer::{
    Mixer, MixerConfig, Order as Blend, PhaseWeights, Pick, Sequence, SourceInfo, SourceReader, WindowOrder,
    Windows,
};
use smollm3_recipe::{Order, Phase, Recipe, Training};
use smollm3_records::{RowRef, SourceName};
use smollm3_sources::Data;

/// Steps by which files are requested ahead, where they come over a network.
const PREFETCH_STEPS: u64 = 32;

/// The order of a stage's data. `windows` gives the number of windows of each source, as far as it is known.
///
/// # Errors
/// The data do not last for the stage, or a share is too small to be kept.
pub fn stage_order(
    recipe: &Recipe,
    training: &Training,
    windows: impl Fn(&str) -> Option<Windows>,
) -> Result<Mixer> {
    let names = stage_sources(training);
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
                .filter_map(|(name, weight)| Some((names.binary_search(&name).ok()?, weight)))
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

/// The sources that a stage reads, sorted.
pub(crate) fn stage_sources(training: &Training) -> Vec<String> {
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

/// The rows of a stage, of which this rank trains on its slice: a pure function of recipe, data and step.
pub struct MixedRows {
    mixer: Mixer,
    /// One a source, in the mixer's order.
    readers: Vec<SourceReader>,
    streams: bool,
    sources: Vec<SourceName>,
    slice: RankSlice,
}

impl MixedRows {
    /// The rows of one stage of `recipe`.
    ///
    /// # Errors
    /// The data do not last for the stage, or a store cannot be read.
    pub fn new(recipe: &Recipe, training: &Training, data: &Data, slice: RankSlice) -> Result<Self> {
        let mut readers = BTreeMap::new();
        for name in stage_sources(training) {
            let reader = data.reader(&name, training.sequence_length.0)?;
            readers.insert(name, reader);
        }
        let windows = |name: &str| readers.get(name).map(SourceReader::windows);
        let mixer = stage_order(recipe, training, windows)?;
        // Both are sorted by name.
        let readers: Vec<SourceReader> = readers.into_values().collect();
        let streams = readers
            .iter()
            .any(|reader| matches!(reader, SourceReader::Streamed(_)));
        let sources = mixer.config().sources.iter().map(|source| SourceName {
            name: source.name.clone(),
            category: (recipe.sources.get(&source.name))
                .map_or(String::new(), |source| source.category.clone()),
        });
        Ok(Self {
            sources: sources.collect(),
            mixer,
            readers,
            streams,
            slice,
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

    /// The sequences of a step, or of a slice of it, with the index of their source.
    fn picked(&self, step: u64, slice: Option<&RankSlice>) -> Result<Vec<(usize, Sequence)>> {
        let picks = |step| -> Result<Vec<Pick>> {
            let picks = self.mixer.batch(step)?;
            match slice {
                Some(slice) => slice.of(picks),
                None => Ok(picks),
            }
        };
        let ahead = match self.streams {
            true => picks((step + PREFETCH_STEPS).min(self.mixer.steps()))?,
            false => Vec::new(),
        };
        let picks = picks(step)?;
        let mut picked = Vec::with_capacity(picks.len());
        // Source by source, so that only one streamed file is held at a time: ranks share the space for them.
        for (source, reader) in self.readers.iter().enumerate() {
            for (number, pick) in picks.iter().enumerate().filter(|(_, pick)| pick.source == source) {
                let place = pick
                    .place
                    .ok_or_else(|| EngineError::Refused(format!("step {step} has no data")))?;
                picked.push((number, (source, reader.read(place.window)?)));
            }
            // While this step's file is held, so that it is not evicted for a later one.
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
}

impl Dataset<Vec<Vec<Row>>, EngineError> for MixedRows {
    fn get(&self, index: usize) -> Result<Vec<Vec<Row>>> {
        let picked = self.picked(index as u64 + 1, Some(&self.slice))?;
        let rows = picked
            .iter()
            .map(|(source, sequence)| Row::of_window(sequence, *source));
        Ok(self.slice.micro_batches(rows.collect()))
    }

    fn len(&self) -> usize {
        self.mixer.steps() as usize
    }
}

impl StepBatches<Vec<Row>> for MixedRows {
    fn sources(&self) -> Vec<SourceName> {
        self.sources.clone()
    }

    fn shares(&self, phase: &Phase) -> BTreeMap<String, f64> {
        phase.mixture.weights().into_iter().collect()
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let picks = self.mixer.batch(step).unwrap_or_default();
        let row = |pick: Pick| {
            Some(RowRef {
                source: self.sources.get(pick.source)?.name.clone(),
                window: pick.place?.window,
            })
        };
        picks.into_iter().filter_map(row).collect()
    }
}

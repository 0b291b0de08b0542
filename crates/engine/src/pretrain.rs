//! What a pretraining stage reads: windows of token stores in the mixer's order, as rows.

use std::collections::BTreeMap;
use std::path::Path;

use smollm3_corpus::TokenStore;
use smollm3_mixer::{
    Documents, Mixer, MixerConfig, Order as Blend, PhaseWeights, Sequence, SourceInfo, WindowOrder,
    WindowReader,
};
use smollm3_recipe::{Order, Recipe, Training};

use crate::{Data, EngineError, Result, Row};

/// The rows of every step of a stage: a pure function of recipe, data and step.
pub struct MixedRows {
    mixer: Mixer,
    /// One a source, in the mixer's order.
    readers: Vec<WindowReader>,
}

impl MixedRows {
    /// The rows of one stage of `recipe`.
    ///
    /// # Errors
    /// The data do not last for the stage, or a store cannot be read.
    pub fn new(recipe: &Recipe, training: &Training, data: &Data) -> Result<Self> {
        let sequence_length = training.sequence_length.0;
        let mut names: Vec<String> = training
            .phases
            .iter()
            .flat_map(|phase| phase.mixture.weights())
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let index: BTreeMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), i))
            .collect();
        let mut readers = Vec::new();
        let mut sources = Vec::new();
        for name in &names {
            let reader = reader(&data.store(name)?.train, sequence_length, data)?;
            let max_epochs = recipe.sources.get(name).map_or(1, |source| source.max_epochs);
            sources.push(SourceInfo {
                name: name.clone(),
                windows: Some(reader.windows()),
                max_epochs: f64::from(max_epochs),
            });
            readers.push(reader);
        }
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
        let mixer = Mixer::new(MixerConfig {
            seed: recipe.run.seed,
            order: match recipe.data.order {
                Order::Even => Blend::Even,
                Order::Greedy => Blend::Greedy,
            },
            windows: WindowOrder::Permuted,
            sequence_length,
            global_batch: training.sequences_per_step(),
            phases: phases.collect(),
            sources,
        })?;
        Ok(Self { mixer, readers })
    }

    /// The rows of a step, in batch order.
    ///
    /// # Errors
    /// The step is not one of the stage's, or a store cannot be read.
    pub fn rows(&self, step: u64) -> Result<Vec<Row>> {
        let picks = self.mixer.batch(step)?;
        picks
            .into_iter()
            .map(|pick| {
                let place = pick
                    .place
                    .ok_or_else(|| EngineError::Refused(format!("step {step} has no data")))?;
                Ok(Row::from(&self.readers[pick.source].read(place.window)?))
            })
            .collect()
    }
}

/// A reader of the token store in `folder`, documents told apart by its index.
pub(crate) fn reader(folder: &Path, sequence_length: u64, data: &Data) -> Result<WindowReader> {
    let vocabulary = data.tokenizer.info().vocab_size;
    Ok(WindowReader::new(
        TokenStore::open(folder)?,
        sequence_length,
        vocabulary,
        Documents::Index,
    )?)
}

impl From<&Sequence> for Row {
    fn from(sequence: &Sequence) -> Self {
        Self {
            ids: sequence.inputs().to_vec(),
            targets: sequence.targets(),
            starts: sequence.document_starts(),
        }
    }
}

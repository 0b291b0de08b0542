//! What a pretraining stage reads: windows of token stores in the mixer's order, as rows.

use std::collections::BTreeMap;

use smollm3_corpus::TokenStore;
use smollm3_corpus::store::Window;
use smollm3_mixer::{Mixer, MixerConfig, Order as Blend, PhaseWeights, SourceInfo, WindowOrder};
use smollm3_recipe::{Order, Recipe, Training};

use crate::{Data, EngineError, Result, Row};

/// The rows of every step of a stage: a pure function of recipe, data and step.
pub struct MixedRows<'a> {
    mixer: Mixer,
    /// Stores in the mixer's order of sources.
    stores: Vec<&'a TokenStore>,
    sequence_length: u64,
}

impl<'a> MixedRows<'a> {
    /// The rows of one stage of `recipe`.
    ///
    /// # Errors
    /// The data do not last for the stage, or a store cannot be read.
    pub fn new(recipe: &Recipe, training: &Training, data: &'a Data) -> Result<Self> {
        let sequence_length = training.sequence_length.0;
        let mut names: Vec<String> =
            training.phases.iter().flat_map(|phase| phase.mixture.weights()).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        let index: BTreeMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let mut stores = Vec::new();
        let mut sources = Vec::new();
        for name in &names {
            let store = &data.store(name)?.train;
            let max_epochs = recipe.sources.get(name).map_or(1, |source| source.max_epochs);
            sources.push(SourceInfo {
                name: name.clone(),
                windows: Some(store.windows(sequence_length)),
                max_epochs: f64::from(max_epochs),
            });
            stores.push(store);
        }
        let phases = training.phases.iter().zip(training.phase_steps()).map(|(phase, steps)| PhaseWeights {
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
        Ok(Self { mixer, stores, sequence_length })
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
                let place = pick.place.ok_or_else(|| EngineError::Refused(format!("step {step} has no data")))?;
                row(&self.stores[pick.source].window(self.sequence_length, place.window)?)
            })
            .collect()
    }
}

/// A row of a window of S + 1 tokens: inputs are the first S, targets the last S, except that the first token of a
/// document is nobody's target.
///
/// # Errors
/// The store's index cannot be read.
pub fn row(window: &Window<'_>) -> Result<Row> {
    let tokens = window.tokens.to_vec();
    let length = tokens.len().saturating_sub(1);
    let inner: Vec<usize> = window.document_starts()?.into_iter().map(|start| start as usize).collect();
    let mut targets: Vec<Option<u32>> = tokens.iter().skip(1).copied().map(Some).collect();
    for start in inner.iter().filter(|start| **start > 0) {
        if let Some(target) = targets.get_mut(start - 1) {
            *target = None;
        }
    }
    let mut starts = vec![0];
    starts.extend(inner.into_iter().filter(|start| *start > 0 && *start < length));
    let ids = tokens.get(..length).unwrap_or_default().to_vec();
    Ok(Row { ids, targets, starts })
}

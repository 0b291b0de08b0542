//! The model that pairs are compared with.

use std::path::PathBuf;

use burn::tensor::Device;
use smollm3_conversations::{ConversationsError, Result};
use smollm3_engine::ranks::{from_rank_zero, on_rank_zero};
use smollm3_engine::{EngineError, Run, StageCheckpoints};
use smollm3_model::{SmolLm3, hf};
use smollm3_recipe::{Preference, Stage};

use crate::objective::answer_log_probs;
use crate::pair_rows::PairRows;
use crate::reference::finite;

/// The reference, whose weights are read when they are needed.
pub(crate) struct ReferenceModel<'a> {
    run: &'a Run,
    stage: &'a Stage,
    folder: PathBuf,
    checkpoint: hf::Checkpoint,
    /// Identifies the weights and the precision.
    pub identity: String,
    model: Option<SmolLm3>,
}

impl<'a> ReferenceModel<'a> {
    /// Opens the checkpoint of a stage's reference.
    ///
    /// # Errors
    /// It cannot be read, or has another vocabulary than the model.
    pub fn open(checkpoints: &StageCheckpoints<'a>, preference: &Preference) -> Result<Self> {
        let (run, stage) = (checkpoints.run, checkpoints.stage);
        let start = preference.reference_from.as_ref().unwrap_or(&stage.from);
        let folder = run.checkpoint_of(stage, start)?;
        let checkpoint = hf::Checkpoint::open(&folder).map_err(EngineError::from)?;
        let (ours, its) = (checkpoints.config.vocab_size, checkpoint.config.vocab_size);
        if ours != its {
            return Err(ConversationsError::Refused(format!(
                "stage \"{}\": the reference {} has a vocabulary of {its}, the model one of {ours}; they must have the same \
                 tokenizer",
                stage.name,
                folder.display()
            )));
        }
        let weights = from_rank_zero(&*run.ranks, || run.weights_identity(&folder))?;
        Ok(Self {
            run,
            stage,
            identity: format!("{weights} {:?}", run.precision()),
            folder,
            checkpoint,
            model: None,
        })
    }

    /// The model on every rank.
    ///
    /// # Errors
    /// The checkpoint is damaged.
    pub fn on_all_ranks(mut self) -> Result<SmolLm3> {
        on_rank_zero(&*self.run.ranks, || {
            self.run.check_whole(self.stage, &self.folder)
        })?;
        self.model()
    }

    /// Log-probabilities of the answers of some pairs, in their order.
    ///
    /// # Errors
    /// The checkpoint is damaged, the pairs cannot be read, or a number is not finite.
    pub fn log_probs(&mut self, rows: &PairRows, pairs: &[u64]) -> Result<Vec<[f64; 2]>> {
        let model = self.model()?;
        Ok(finite(log_probs(&model, rows, pairs, &self.run.device)?)?)
    }

    fn model(&mut self) -> Result<SmolLm3> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        let run = self.run;
        // Not with the other ranks: as a rule only rank 0 needs it.
        if run.ranks.rank() == 0 {
            run.check_whole(self.stage, &self.folder)?;
        }
        let model = self.checkpoint.model(&run.device).map_err(EngineError::from)?;
        Ok(self.model.insert(model.with_precision(run.precision())).clone())
    }
}

/// Log-probabilities of the answers of some pairs, in their order.
///
/// # Errors
/// The pairs cannot be read.
pub(crate) fn log_probs(
    model: &SmolLm3,
    rows: &PairRows,
    pairs: &[u64],
    device: &Device,
) -> Result<Vec<[f64; 2]>> {
    let mut by_pair: Vec<(u64, [f64; 2])> = Vec::with_capacity(pairs.len());
    for row in rows.rows_of(pairs)? {
        let numbers: Vec<u64> = row.pairs.iter().map(|span| span.pair).collect();
        by_pair.extend(numbers.into_iter().zip(answer_log_probs(model, row, device)?));
    }
    // Rows are in another order, and every pair is in one of them.
    by_pair.sort_by_key(|(pair, _)| *pair);
    Ok(by_pair.into_iter().map(|(_, values)| values).collect())
}

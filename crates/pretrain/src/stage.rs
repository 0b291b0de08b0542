//! Pretraining and long-context stages: rows of token stores, cross-entropy, held-out loss at the end of each phase.

use std::sync::atomic::AtomicBool;

use smollm3_engine::{
    CrossEntropy, EngineError, Evaluate, RankSlice, Result, Run, StageCheckpoints, TrainState,
    held_out_by_category, run_stage,
};
use smollm3_recipe::{Stage, Training};
use smollm3_records::Listener;

use crate::mixed_rows::{MixedRows, stage_sources};

/// Runs a stage on token rows to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// The stage is not one on token rows, or see [`run_stage`].
pub fn pretrain(run: &Run, stage: &Stage, stop: &AtomicBool, listener: &mut dyn Listener) -> Result<()> {
    let training = &stage
        .training()
        .ok_or_else(|| EngineError::Refused(format!("stage \"{}\" is not one on token rows", stage.name)))?;
    run.verify_parents(stage)?;
    let config = run.stage_config(stage)?;
    let rows = MixedRows::new(
        &run.recipe,
        training,
        &run.data,
        RankSlice::new(&*run.ranks, stage, training)?,
    )?;
    // Other sources may change while the stage is trained.
    let fingerprint = |name: String| -> Result<_> {
        let fingerprint = run.data.store(&name)?.fingerprint.clone();
        Ok((name, fingerprint))
    };
    let checkpoints = StageCheckpoints {
        run,
        stage,
        training,
        generation: run.generation_json(stage, &config)?,
        config,
        tokenizer_folder: run.data.tokenizer_folder.clone(),
        data: (stage_sources(training).into_iter().map(fingerprint)).collect::<Result<_>>()?,
        lora: None,
    };
    let held_out = HeldOutText { run, training };
    run_stage(&checkpoints, &rows, &CrossEntropy, &held_out, stop, listener)
}

/// Loss on text that is kept out of training.
struct HeldOutText<'a> {
    run: &'a Run,
    training: &'a Training,
}

impl Evaluate for HeldOutText<'_> {
    fn at_start(&self) -> bool {
        false
    }

    fn evaluate(
        &self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>> {
        let (run, training) = (self.run, self.training);
        let (length, micro_batch) = (training.sequence_length.0, training.micro_batch.0 as usize);
        let rows = run.recipe.data.held_out_rows;
        if rows == 0 {
            return Ok(None);
        }
        let categories = held_out_by_category(run, &state.model, length, rows, micro_batch)?;
        for (category, loss) in categories {
            listener.on(&loss.event(step, phase, &category))?;
        }
        Ok(None)
    }
}

//! The way through a stage of any kind.

use std::sync::atomic::AtomicBool;

use smollm3_recipe::training_flops_per_token;
use smollm3_records::{Listener, PhaseInfo, StageInfo};

use super::evaluate::Evaluate;
use super::step_batches::StepBatches;
use super::{LoopSettings, train};
use crate::{EngineError, Objective, Result, StageCheckpoints};

/// Trains a stage to its end, from its newest checkpoint if it has one. A kind of stage is `data` and an `objective`.
///
/// # Errors
/// The data have another number of steps than the stage, a checkpoint cannot be read, or as [`train`].
pub fn run_stage<O: Objective>(
    checkpoints: &StageCheckpoints<'_>,
    data: &dyn StepBatches<O::HostBatch>,
    objective: &O,
    evaluation: &dyn Evaluate,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    let (run, stage, training) = (checkpoints.run, checkpoints.stage, checkpoints.training);
    if data.len() as u64 != training.total_steps() {
        return Err(EngineError::Refused(format!(
            "stage \"{}\" has {} steps, its data {}; they must agree",
            stage.name,
            training.total_steps(),
            data.len()
        )));
    }
    let settings = LoopSettings {
        stage: stage_info::<O>(checkpoints, data),
        training,
        schedule: training.schedule()?,
        stop,
        device: &run.device,
        ranks: &*run.ranks,
        sharding: run.recipe.run.shard,
        validation: stage.validation(),
    };
    let from = checkpoints.resume(listener)?;
    train(
        &settings,
        from,
        data,
        objective,
        checkpoints,
        evaluation,
        listener,
    )?;
    Ok(())
}

/// The stage, for listeners.
fn stage_info<O: Objective>(
    checkpoints: &StageCheckpoints<'_>,
    data: &dyn StepBatches<O::HostBatch>,
) -> StageInfo {
    let (training, config) = (checkpoints.training, &checkpoints.config);
    let length = training.sequence_length.0;
    let peak_tflops = checkpoints.run.recipe.plan.peak_tflops;
    let phases = training.phases.iter().zip(training.phase_steps());
    StageInfo {
        name: checkpoints.stage.name.clone(),
        folder: checkpoints.folder(),
        steps: training.total_steps(),
        tokens_per_step: training.tokens_per_step(),
        sequence_length: length,
        rope_theta: config.rope_theta,
        flops_per_token: training_flops_per_token(config, length),
        peak_flops: peak_tflops.map(|peak| peak * 1e12),
        loss_unit: O::LOSS_UNIT.to_owned(),
        sources: data.sources(),
        phases: phases
            .map(|(phase, steps)| PhaseInfo {
                name: phase.name.clone(),
                first: *steps.start(),
                last: *steps.end(),
                shares: data.shares(phase),
            })
            .collect(),
    }
}

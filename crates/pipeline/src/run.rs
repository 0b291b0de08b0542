//! The loop over a recipe's stages.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use smollm3_apo::prefer;
use smollm3_collective::{Collective, Single};
use smollm3_engine::Run;
use smollm3_engine::ranks::on_rank_zero;
use smollm3_eval::evaluate_stage;
use smollm3_kernels::FreedMemory;
use smollm3_merge::merge_stage;
use smollm3_pretrain::pretrain;
use smollm3_recipe::{Recipe, Recompute, Stage, StageData};
use smollm3_records::{Event, Listener};
use smollm3_sft::fine_tune;

use crate::error::Result;
use crate::push::{Pushing, check_push};

/// Runs all stages of a recipe in this process, from where they are.
///
/// # Errors
/// The recipe, its data or its device are not available, a stage fails, or it was stopped
/// ([`PipelineError::is_interrupted`](crate::PipelineError::is_interrupted)).
pub fn run(recipe: Recipe, stop: &AtomicBool, listener: &mut dyn Listener) -> Result<Run> {
    let device = recipe.run.device.clone();
    let last = recipe.stages.len().saturating_sub(1);
    let run = open_as(Arc::new(Single::default()), device.as_deref(), recipe, listener)?;
    run_stages(&run, 0..=last, stop, listener)?;
    Ok(run)
}

/// Opens a run for one of several ranks, on its own device ([`Run::open_as`]), and sets for the whole process whether freed
/// memory is returned to the system.
///
/// # Errors
/// As [`Run::open_as`].
pub fn open_as(
    ranks: Arc<dyn Collective>,
    device: Option<&str>,
    recipe: Recipe,
    listener: &mut dyn Listener,
) -> Result<Run> {
    on_rank_zero(&*ranks, || check_push(&recipe))?;
    let recomputes = |stage: &Stage| stage.recompute() == Recompute::Layers;
    FreedMemory::of_run(recipe.stages.iter().any(recomputes)).set();
    Ok(Run::open_as(ranks, device, recipe, listener)?)
}

/// Runs the stages with these numbers, each with its evaluation. Every rank of the run calls it.
///
/// # Errors
/// As [`run`].
pub fn run_stages(
    run: &Run,
    numbers: RangeInclusive<usize>,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    let mut listener = Pushing::of(run, listener)?;
    for stage in run.recipe.stages.get(numbers).unwrap_or_default() {
        run_stage(run, stage, stop, &mut listener)?;
        on_rank_zero(&*run.ranks, || {
            evaluate_stage(run, stage, &mut listener)?;
            listener.stage_ended(stage)
        })?;
    }
    on_rank_zero(&*run.ranks, || listener.finish(stop))?;
    Ok(())
}

/// Runs a stage to its end, unless it is there.
fn run_stage(run: &Run, stage: &Stage, stop: &AtomicBool, listener: &mut dyn Listener) -> Result<()> {
    match &stage.data {
        _ if let Some(steps) = run.finished(stage)? => {
            listener.on(&Event::Note(format!("{}: complete ({steps} steps)", stage.name)))?;
        }
        StageData::Pretrain(_) | StageData::LongContext(_) => pretrain(run, stage, stop, listener)?,
        StageData::MidTrain(tuning) | StageData::Sft(tuning) => {
            fine_tune(run, stage, tuning, stop, listener)?
        }
        StageData::Apo(preference) => prefer(run, stage, preference, stop, listener)?,
        StageData::Merge(merging) => {
            on_rank_zero(&*run.ranks, || merge_stage(run, stage, merging, stop, listener))?;
        }
    }
    Ok(())
}

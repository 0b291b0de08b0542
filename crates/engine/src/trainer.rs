//! The loop around the training step: data, learning rate, events, checkpoints, a clean stop.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use smollm3_recipe::{Schedule, Training};

use crate::prefetch::prefetch;
use crate::{
    EngineError, Event, Listener, Objective, Result, StepMode, StepRecord, StepResult, TrainState, train_step,
};

/// What a stage gives the loop besides its objective and its data.
pub struct LoopSettings<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// Where its checkpoints go.
    pub folder: PathBuf,
    /// Batch, phases, loss average, checkpoints.
    pub training: &'a Training,
    /// Learning rate by step.
    pub schedule: Schedule,
    /// Set from outside to end after the current step.
    pub stop: &'a AtomicBool,
}

/// What the loop asks of its stage.
pub trait Hooks {
    /// Saves a checkpoint after `step` and returns its folder.
    ///
    /// # Errors
    /// It cannot be written.
    fn save(&mut self, state: &TrainState, step: u64) -> Result<PathBuf>;

    /// Called when a phase has ended, before its checkpoint is written.
    ///
    /// # Errors
    /// What is measured there cannot be measured.
    fn phase_ended(
        &mut self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<()>;
}

/// Trains from the step after `done` to the end of the stage.
///
/// `host_batch` reads a step's data on another thread; `to_device` makes micro-batches of it.
///
/// # Errors
/// Data, device or disk fail, the loss is not finite, or the run was stopped (after saving).
#[allow(clippy::too_many_arguments)]
pub fn train<O: Objective, H: Send>(
    settings: &LoopSettings<'_>,
    state: TrainState,
    done: u64,
    objective: &O,
    host_batch: impl Fn(u64) -> Result<H> + Send,
    to_device: impl Fn(H) -> Result<Vec<O::MicroBatch>>,
    hooks: &mut dyn Hooks,
    listener: &mut dyn Listener,
) -> Result<TrainState> {
    let training = settings.training;
    let total = training.total_steps();
    let mode = StepMode {
        average: training.loss.average,
        recompute: training.recompute,
    };
    let started = Event::StageStarted {
        stage: settings.stage.to_owned(),
        done,
        total,
        folder: settings.folder.clone(),
    };
    listener.on(&started)?;
    let phases: Vec<(u64, &str)> = training
        .phases
        .iter()
        .map(|phase| (training.end_step(phase), phase.name.as_str()))
        .collect();
    // The step consumes its state; in between it lies here.
    let mut current = Some(state);
    let lost = || EngineError::Refused("the training state is gone".to_owned());
    prefetch(done + 1..=total, host_batch, |step, take| {
        let begin = Instant::now();
        let micro_batches = to_device(take()?)?;
        let data_seconds = begin.elapsed().as_secs_f64();
        let learning_rate = settings.schedule.learning_rate(step);
        let before = current.take().ok_or_else(lost)?;
        let (after, result) = train_step(before, objective, &micro_batches, mode, learning_rate);
        check_finite(settings.stage, step, &result)?;
        let phase = phases
            .iter()
            .find(|(end, _)| step <= *end)
            .map_or("", |(_, name)| name);
        listener.on(&Event::Step(StepRecord {
            step,
            phase: phase.to_owned(),
            tokens: step * training.tokens_per_step(),
            loss: result.loss,
            learning_rate,
            grad_norm: result.grad_norm,
            seconds: begin.elapsed().as_secs_f64(),
            data_seconds,
        }))?;

        let ended = phases.iter().find(|(end, _)| *end == step);
        if let Some((_, name)) = ended {
            hooks.phase_ended(&after, step, name, listener)?;
        }
        let stop = settings.stop.load(Ordering::Relaxed) && step < total;
        let regular = training
            .checkpoint
            .every
            .is_some_and(|every| step.is_multiple_of(every.0));
        if ended.is_some() || stop || regular {
            let begin = Instant::now();
            let folder = hooks.save(&after, step)?;
            listener.on(&Event::Saved {
                step,
                folder,
                pause: begin.elapsed(),
            })?;
        }
        current = Some(after);
        match stop {
            true => Err(EngineError::Interrupted {
                stage: settings.stage.to_owned(),
                step,
            }),
            false => Ok(()),
        }
    })?;
    listener.on(&Event::StageEnded {
        stage: settings.stage.to_owned(),
    })?;
    current.ok_or_else(lost)
}

fn check_finite(stage: &str, step: u64, result: &StepResult) -> Result<()> {
    if result.loss.is_finite() && result.grad_norm.is_finite() {
        return Ok(());
    }
    Err(EngineError::NotFinite {
        stage: stage.to_owned(),
        step,
        loss: result.loss,
        grad_norm: result.grad_norm,
    })
}

//! The loop around the training step: data, learning rate, guards, events, checkpoints, a clean stop.
//!
//! [`run_stage`] is the way through a stage of any kind; [`train`] is the loop in it.

mod epoch_data;
mod evaluate;
mod guard;
mod prefetch;
mod rank_slice;
mod run_stage;
mod step_batches;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use smollm3_collective::Collective;
use smollm3_recipe::{BestCheckpoint, Schedule, Sharding, Training, Validation};
use smollm3_records::{
    CollectiveRecord, Event, Fault, IncidentKind, Listener, SourceRecord, StageInfo, StepRecord,
    ValidationState,
};

use crate::checkpoint::{Checkpointer, ResumePoint, Saver, is_due};
use crate::ranks::{ALONE, from_rank_zero, on_rank_zero};
use crate::{EngineError, GlobalBatch, Objective, Result, StepMode, StepResult, TrainState, train_step};
use guard::Guard;
use prefetch::prefetch;

pub use epoch_data::{EpochData, EpochOrder};
pub use evaluate::Evaluate;
use evaluate::Figures;
pub use rank_slice::RankSlice;
pub use run_stage::run_stage;
pub use step_batches::StepBatches;

/// The settings of a stage's loop.
pub struct LoopSettings<'a> {
    /// The stage, for listeners.
    pub stage: StageInfo,
    /// Batch, phases, loss average, checkpoints, guards.
    pub training: &'a Training,
    /// Learning rate by step.
    pub schedule: Schedule,
    /// Set from outside to end after the current step; one rank is enough.
    pub stop: &'a AtomicBool,
    /// The device, without autodiff.
    pub device: &'a Device,
    /// The ranks that train together, of which this is one.
    pub ranks: &'a dyn Collective,
    /// What they divide among themselves.
    pub sharding: Sharding,
    /// When the stage is evaluated in addition to the ends of its phases, and with what consequences.
    pub validation: Option<&'a Validation>,
}

/// Trains from the step after `from` to the end of the stage, or to where its validation loss ends it.
///
/// Another thread reads the batches ahead. Rank 0 evaluates: at the end of each phase, and in between where the stage says so.
///
/// # Errors
/// Data or device fail, the last checkpoint cannot be written, too many steps in a row cannot be trained on, or the
/// run was stopped (after saving).
pub fn train<O: Objective>(
    settings: &LoopSettings<'_>,
    from: ResumePoint,
    data: &dyn StepBatches<O::HostBatch>,
    objective: &O,
    checkpoints: &dyn Checkpointer,
    evaluation: &dyn Evaluate,
    listener: &mut dyn Listener,
) -> Result<TrainState> {
    let total = settings.training.total_steps();
    listener.on(&Event::StageStarted {
        stage: settings.stage.clone(),
        done: from.step,
    })?;
    let mut done = from.step;
    if done == 0 {
        on_rank_zero(settings.ranks, || match evaluation.at_start() {
            true => evaluation.evaluate(&from.state, 0, "start", &mut Figures(listener)),
            false => Ok(None),
        })?;
    }
    let mut looped = Loop {
        settings,
        first: from.step + 1,
        copied: from.step,
        guard: Guard::new(settings.training.guards.clone(), from.guard),
        validation: from.validation,
        saver: Saver::default(),
        data,
        checkpoints,
        evaluation,
        listener,
    };
    // The step consumes its state; between steps it lies here.
    let mut current = Some(from.state);
    let batch_of = |step: u64| data.get((step - 1) as usize);
    while done < total && !looped.validation.ended {
        let mut went_wrong = None;
        prefetch(done + 1..=total, batch_of, |step, take| {
            let before = current.take().unwrap_or_else(|| unreachable!("put back below"));
            let begin = Instant::now();
            let micro_batches: Vec<O::MicroBatch> = take()?
                .into_iter()
                .map(|batch| objective.to_device(batch, settings.device))
                .collect::<Result<_>>()?;
            let data_seconds = begin.elapsed().as_secs_f64();
            let (after, next) = looped.step(before, objective, step, &micro_batches, begin, data_seconds)?;
            match next {
                Next::Step => looped.after_step(&after, step)?,
                Next::GoBack => went_wrong = Some(step),
                Next::Stop => looped.stop(&after, step - 1)?,
            }
            current = Some(after);
            Ok(match went_wrong.is_some() || looped.validation.ended {
                false => ControlFlow::Continue(()),
                true => ControlFlow::Break(()),
            })
        })?;
        done = total;
        if let Some(step) = went_wrong {
            // The steps since the last good checkpoint are given up; their state is freed before another takes its memory.
            drop(current.take());
            let state = looped.go_back(step)?;
            // Like any other step, it may end a phase or the stage.
            looped.after_step(&state, step)?;
            current = Some(state);
            done = step;
        }
    }
    looped.saved()?;
    listener.on(&Event::StageEnded {
        stage: settings.stage.name.clone(),
    })?;
    Ok(current.unwrap_or_else(|| unreachable!("put back above")))
}

/// What the loop does next.
enum Next {
    /// Compute the next step.
    Step,
    /// Too many steps in a row had no update: the run goes back.
    GoBack,
    /// A stop was requested before this step, which was not computed.
    Stop,
}

struct Loop<'a, B> {
    settings: &'a LoopSettings<'a>,
    /// The first step, which is computed even if a stop was requested.
    first: u64,
    /// The step of the newest checkpoint that is on disk or being written.
    copied: u64,
    guard: Guard,
    validation: ValidationState,
    saver: Saver,
    data: &'a dyn StepBatches<B>,
    checkpoints: &'a dyn Checkpointer,
    evaluation: &'a dyn Evaluate,
    listener: &'a mut dyn Listener,
}

impl<B> Loop<'_, B> {
    /// One step, its record and its incidents.
    fn step<O: Objective>(
        &mut self,
        before: TrainState,
        objective: &O,
        step: u64,
        micro_batches: &[O::MicroBatch],
        begin: Instant,
        data_seconds: f64,
    ) -> Result<(TrainState, Next)> {
        let training = self.settings.training;
        let mode = StepMode {
            average: training.loss.average,
            recompute: training.recompute,
            sharding: self.settings.sharding,
        };
        let learning_rate = self.settings.schedule.learning_rate(step);
        let (guard, ranks) = (&self.guard, self.settings.ranks);
        let accept = |result: &StepResult| guard.accepts(guard.fault(result));
        let traffic = ranks.traffic();
        let stop = step > self.first && self.settings.stop.load(Ordering::Relaxed);
        let batch = GlobalBatch::gather(objective, micro_batches, stop, ranks)?;
        if batch.stop {
            return Ok((before, Next::Stop));
        }
        let (after, result) = train_step(before, objective, batch, mode, learning_rate, accept)?;
        let fault = self.guard.fault(&result);
        let record = StepRecord {
            learning_rate,
            seconds: begin.elapsed().as_secs_f64(),
            data_seconds,
            collectives: (ranks.world() > 1).then(|| {
                let now = ranks.traffic();
                CollectiveRecord {
                    ranks: ranks.world() as u64,
                    seconds: (now.time - traffic.time).as_secs_f64(),
                    hidden: (now.hidden - traffic.hidden).as_secs_f64(),
                    bytes: now.sent - traffic.sent,
                }
            }),
            ..self.record(step, &result)
        };
        self.listener.on(&Event::Step(record))?;
        if let Some(fault) = fault {
            self.report(step, fault, &result)?;
        }
        let next = match self.guard.remember(&result) {
            true => Next::GoBack,
            false => Next::Step,
        };
        Ok((after, next))
    }

    /// The record of a step's result.
    fn record(&self, step: u64, result: &StepResult) -> StepRecord {
        let names = &self.settings.stage.sources;
        let sources = result.sources.iter().filter_map(|(index, part)| {
            let name = names.get(*index)?.name.clone();
            Some((name, SourceRecord::from(*part)))
        });
        let observed = result.observed.iter().filter(|(_, value)| value.is_finite());
        StepRecord {
            step,
            phase: self.phase(step).to_owned(),
            tokens: step * self.settings.training.tokens_per_step(),
            loss: result.loss,
            grad_norm: result.grad_norm,
            updated: result.updated,
            sources: sources.collect(),
            observed: observed
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            ..StepRecord::default()
        }
    }

    fn report(&mut self, step: u64, fault: Fault, result: &StepResult) -> Result<()> {
        let kind = IncidentKind::Fault {
            fault,
            loss: result.loss,
            grad_norm: result.grad_norm,
            updated: result.updated,
            rows: self.data.rows_of(step),
        };
        Ok(self.listener.on(&Event::Incident { step, kind })?)
    }

    fn phase(&self, step: u64) -> &str {
        let phases = &self.settings.stage.phases;
        phases
            .iter()
            .find(|phase| step <= phase.last)
            .map_or("", |phase| phase.name.as_str())
    }

    /// The end of a phase, evaluation and checkpoints.
    fn after_step(&mut self, state: &TrainState, step: u64) -> Result<()> {
        let (training, stage) = (self.settings.training, &self.settings.stage);
        let ended = stage.phases.iter().any(|phase| phase.last == step);
        let is_best = self.validate(state, step, ended)?;
        if ended {
            self.guard.forget();
        }
        self.saver.poll(self.listener)?;
        let kept = |settings: &Validation| settings.best != BestCheckpoint::None;
        let keeps_best = is_best && self.settings.validation.is_some_and(kept);
        let due = is_due(&training.checkpoint, step, &self.guard.state);
        match ended || keeps_best || self.validation.ended || due {
            true => self.save(state, step),
            false => Ok(()),
        }
    }

    /// Evaluates the model where that is due, but not after a step without an update, which left it unchanged. Returns whether it
    /// is the best so far.
    fn validate(&mut self, state: &TrainState, step: u64, ended: bool) -> Result<bool> {
        let validation = self.settings.validation;
        let due = validation.is_some_and(|settings| settings.is_due(step)) && self.guard.state.bad == 0;
        if !(ended || due) {
            return Ok(false);
        }
        let phase = self.phase(step).to_owned();
        let (evaluation, listener) = (self.evaluation, &mut *self.listener);
        let loss = from_rank_zero(self.settings.ranks, || {
            let loss = evaluation.evaluate(state, step, &phase, &mut Figures(listener))?;
            Ok::<_, EngineError>(loss.filter(|loss| loss.is_finite()))
        })?;
        let Some(settings) = validation.filter(|settings| settings.every.is_some()) else {
            return Ok(false);
        };
        let is_best = self.validation.take(settings, step, loss);
        // A stage that ends with its last step does not end early.
        self.validation.ended &= step < self.settings.training.total_steps();
        if self.validation.ended {
            let (step, best) = (step, self.validation.best.clone());
            self.listener.on(&Event::EndedEarly { step, best })?;
        }
        Ok(is_best)
    }

    /// Begins to write the checkpoint of step `step`.
    fn save(&mut self, state: &TrainState, step: u64) -> Result<()> {
        let (checkpoints, guard, validation) = (self.checkpoints, &self.guard.state, &self.validation);
        let ranks = self.settings.ranks;
        self.copied = step;
        // The checkpoint before it is written or given up by now, but perhaps not by all ranks.
        let snapshot = || {
            ranks.barrier_within(ALONE)?;
            checkpoints.snapshot(state, step, guard, validation)
        };
        self.saver.start(step, snapshot, self.listener)
    }

    /// Saves a checkpoint of step `step` and ends the run.
    fn stop(&mut self, state: &TrainState, step: u64) -> Result<()> {
        if self.copied != step {
            self.save(state, step)?;
        }
        self.saved()?;
        Err(EngineError::Interrupted {
            stage: self.settings.stage.name.clone(),
            step,
        })
    }

    /// Waits until the checkpoint is written, by all ranks.
    fn saved(&mut self) -> Result<()> {
        self.saver.finish(self.listener)?;
        Ok(self.settings.ranks.barrier_within(ALONE)?)
    }

    /// Replaces the state after step `step` by the last good checkpoint, which skips the data in between. The second time, it ends
    /// the run.
    fn go_back(&mut self, step: u64) -> Result<TrainState> {
        // The checkpoint being written may be the one to go back to; one that cannot be written is given up.
        self.saver.give_up(self.listener)?;
        self.settings.ranks.barrier_within(ALONE)?;
        if !self.guard.state.left_out.is_empty() {
            return Err(EngineError::Diverged {
                stage: self.settings.stage.name.clone(),
                step,
                patience: self.settings.training.guards.patience.0,
                left_out: self.guard.state.left_out.clone(),
            });
        }
        let ResumePoint {
            state,
            step: to,
            mut guard,
            validation,
        } = self.checkpoints.last_good(self.listener)?;
        if to == 0 {
            return Err(EngineError::NothingGood {
                stage: self.settings.stage.name.clone(),
                step,
                patience: self.settings.training.guards.patience.0,
            });
        }
        guard.left_out.push((to + 1, step));
        self.guard.state = guard;
        self.validation = validation;
        let kind = IncidentKind::WentBack { to };
        self.listener.on(&Event::Incident { step, kind })?;
        Ok(state)
    }
}

//! Runs of which the stage `sft` is stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_engine::Run;
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{Event, Listener, Metrics};
use smollm3_sft::fine_tune;

/// Keeps metrics, and asks for a stop after a step of `sft`.
struct StopAfter<'a> {
    metrics: Metrics,
    step: u64,
    stop: &'a AtomicBool,
    in_sft: bool,
}

impl Listener for StopAfter<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        self.metrics.on(event)?;
        match event {
            Event::StageStarted { stage, .. } => self.in_sft = stage.name == "sft",
            Event::Step(record) if self.in_sft && record.step == self.step => {
                self.stop.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Runs the first `stages` stages, each unless it is finished; 0 for `stop_after` stops nothing.
pub fn run(recipe: Recipe, stop_after: u64, stages: usize) -> smollm3_conversations::Result<()> {
    let stop = AtomicBool::new(false);
    let mut listener = StopAfter {
        metrics: Metrics::default(),
        step: stop_after,
        stop: &stop,
        in_sft: false,
    };
    let run = Run::open(recipe, &mut listener)?;
    for stage in run.recipe.stages.iter().take(stages) {
        if run.finished(stage)?.is_some() {
            continue;
        }
        match stage.fine_tuning() {
            Some(fine_tuning) => fine_tune(&run, stage, fine_tuning, &stop, &mut listener)?,
            None => pretrain(&run, stage, &stop, &mut listener)?,
        }
    }
    Ok(())
}

//! This process as one of the ranks of a run: its place, its device, its threads, how it ends.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use smollm3_collective::{Collective, CollectiveError, Placement, start};
use smollm3_engine::EngineError;
use smollm3_kernels::{limit_threads, threads_of_rank, visible_gpus};
use smollm3_recipe::{Backend, Recipe};

use crate::in_full;
use crate::interrupt::{STOPPED, is_interrupted, of_engine};

/// One of the ranks.
pub struct Rank {
    /// All of them.
    pub all: Arc<dyn Collective>,
    placement: Placement,
}

impl Rank {
    /// The rank that the launcher says this is, with its part of the machine's cores.
    ///
    /// # Errors
    /// The launcher's variables make no sense, or the ranks cannot reach each other.
    pub fn start(limit: Duration) -> Result<Self> {
        let placement = Placement::from_environment()?;
        if placement.local_world > 1 {
            limit_threads(threads_of_rank(placement.local_world));
        }
        let all = start(&placement, limit)?;
        Ok(Self { all, placement })
    }

    /// Whether this is the one that shows and writes.
    pub fn is_first(&self) -> bool {
        self.all.rank() == 0
    }

    /// The device to compute on: the recipe's, and of several GPUs this rank's.
    ///
    /// # Errors
    /// This node has fewer GPUs than ranks.
    pub fn device(&self, recipe: &Recipe) -> Result<Option<String>> {
        let named = recipe.run.device.as_deref();
        let any_gpu = match (recipe.run.backend, named) {
            (Backend::Tch, Some("cuda")) => "cuda",
            (Backend::Wgpu, Some("discrete")) => "discrete",
            _ => return Ok(named.map(str::to_owned)),
        };
        if self.all.world() == 1 {
            return Ok(named.map(str::to_owned));
        }
        let gpus = visible_gpus(recipe.run.backend.name()).unwrap_or(self.placement.local_world);
        Ok(Some(format!("{any_gpu}:{}", self.placement.device(gpus)?)))
    }

    /// Ends the run on all ranks: together where all end here, at once where this one cannot go on.
    ///
    /// # Errors
    /// What ended it, where this is the only rank; one that others cannot be reached.
    pub fn end(&self, outcome: Result<ExitCode>, stop: &AtomicBool) -> Result<ExitCode> {
        let error = match outcome {
            Ok(code) => {
                self.all.finish()?;
                return Ok(code);
            }
            Err(error) => error,
        };
        if !ends_on_all(&error) {
            self.all.abort(&in_full(&error));
            return Err(error);
        }
        // Said before the others are let go: mpirun ends all at the first that fails.
        let code = match is_interrupted(&error) || stop.load(Ordering::Relaxed) {
            true => ExitCode::from(STOPPED),
            false => ExitCode::FAILURE,
        };
        if self.is_first() {
            match is_interrupted(&error) {
                true => eprintln!("{error}"),
                false => eprintln!("error: {}", in_full(&error)),
            }
        }
        self.all.finish()?;
        Ok(code)
    }
}

/// Whether every rank has this error, or one that comes of it.
fn ends_on_all(error: &anyhow::Error) -> bool {
    let is_shared = match of_engine(error) {
        Some(EngineError::FirstEnded) => true,
        Some(EngineError::Collective(error)) => matches!(**error, CollectiveError::Disagreement(_)),
        _ => false,
    };
    is_shared || is_interrupted(error)
}

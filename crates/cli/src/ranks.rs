//! This process as a rank of a run: its device, its threads, its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use smollm3_collective::{Collective, CollectiveError, Placement, start};
use smollm3_engine::EngineError;
use smollm3_kernels::{limit_threads, threads_of_rank, visible_gpus};
use smollm3_recipe::{Backend, Recipe};

use crate::interrupt::{STOPPED, is_stopped, of_engine};
use crate::{failed, in_full};

/// A rank.
pub struct Rank {
    /// All ranks.
    pub all: Arc<dyn Collective>,
    placement: Placement,
}

impl Rank {
    /// The rank that the launcher assigns to this process, with its share of the cores.
    ///
    /// # Errors
    /// The launcher's variables are inconsistent, or the ranks cannot reach each other.
    pub fn start(limit: Duration) -> Result<Self> {
        let placement = Placement::from_environment()?;
        if placement.local_world > 1 {
            limit_threads(threads_of_rank(placement.local_world));
        }
        let all = start(&placement, limit)?;
        Ok(Self { all, placement })
    }

    /// Whether this is rank 0, which prints and writes.
    pub fn is_first(&self) -> bool {
        self.all.rank() == 0
    }

    /// The recipe's device; of several GPUs, the one of this rank.
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

    /// Ends the run on all ranks: together if all have ended, else by aborting the others.
    ///
    /// # Errors
    /// The error of this rank, or the others cannot be reached.
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
        // Printed before the others are released: mpirun ends all ranks once one fails.
        if self.is_first() {
            failed(&error);
        }
        self.all.finish()?;
        Ok(match is_stopped(&error) || stop.load(Ordering::Relaxed) {
            true => ExitCode::from(STOPPED),
            false => ExitCode::FAILURE,
        })
    }
}

/// Whether all ranks end with this error, or one that follows from it.
fn ends_on_all(error: &anyhow::Error) -> bool {
    let is_shared = match of_engine(error) {
        Some(EngineError::FirstEnded) => true,
        Some(EngineError::Collective(error)) => matches!(**error, CollectiveError::Disagreement(_)),
        _ => false,
    };
    is_shared || is_stopped(error)
}

//! Work that is done once: rank 0 does it while the others wait.
//!
//! Rank 0 alone writes files, and the others read them: all nodes see the job's folder. Every rank makes each of these calls,
//! in the same order.

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;
use smollm3_collective::{Collective, CollectiveError, Reduction};
#[cfg(feature = "nccl")]
use smollm3_collective::{WithDevices, nccl::Nccl};
use smollm3_files::hash_file;
#[cfg(feature = "nccl")]
use smollm3_kernels::libtorch_gpu;

use crate::{EngineError, Result};

/// How long the others wait for work of rank 0. Longer than for an exchange: preparing a corpus or evaluating a checkpoint takes
/// hours. A rank that dies ends the job at once.
pub const ALONE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Work that leaves files, done by rank 0 first and then by the others, who find the files there.
///
/// # Errors
/// As `work`; [`EngineError::FirstEnded`] where that was rank 0's; a rank that is late or gone.
pub fn rank_zero_first<T, E: From<EngineError>>(
    ranks: &dyn Collective,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    if ranks.rank() > 0 {
        wait(ranks, false)?;
        return work();
    }
    let done = work();
    let waited = wait(ranks, done.is_err());
    let done = done?;
    waited?;
    Ok(done)
}

/// Work of rank 0 that the others wait for; `None` for them.
///
/// # Errors
/// As `work`; [`EngineError::FirstEnded`] for the others; a rank that is late or gone.
pub fn on_rank_zero<T, E: From<EngineError>>(
    ranks: &dyn Collective,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<Option<T>, E> {
    match ranks.rank() {
        0 => rank_zero_first(ranks, work).map(Some),
        _ => Ok(rank_zero_first(ranks, || Ok::<_, EngineError>(None))?),
    }
}

/// Waits for rank 0, which reports whether it failed.
fn wait(ranks: &dyn Collective, failed: bool) -> Result<()> {
    ranks.barrier_within(ALONE)?;
    let mut any_failed = [f64::from(u8::from(failed))];
    ranks.all_reduce_f64(&mut any_failed, Reduction::Max)?;
    match any_failed[0] > 0.0 && !failed {
        true => Err(EngineError::FirstEnded),
        false => Ok(()),
    }
}

/// Work of rank 0, whose result all ranks get.
///
/// # Errors
/// As `work`; [`EngineError::FirstEnded`] for the others; a rank that is late or gone.
pub fn from_rank_zero<T, E>(
    ranks: &dyn Collective,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<EngineError>,
{
    let unreadable = |error: serde_json::Error| {
        EngineError::from(CollectiveError::Unreadable {
            rank: 0,
            place: ranks.place(0),
            problem: error.to_string(),
        })
    };
    let bytes = match on_rank_zero(ranks, work)? {
        Some(result) if ranks.world() == 1 => return Ok(result),
        Some(result) => serde_json::to_vec(&result).map_err(unreadable)?,
        None => Vec::new(),
    };
    let bytes = ranks.broadcast_bytes(bytes, 0).map_err(EngineError::from)?;
    Ok(serde_json::from_slice(&bytes).map_err(unreadable)?)
}

/// The same ranks, with sums between their GPUs if they have any and this program has NCCL.
pub(crate) fn with_device_collective(
    ranks: Arc<dyn Collective>,
    device: &Device,
) -> Result<Arc<dyn Collective>> {
    #[cfg(feature = "nccl")]
    if let Some(gpu) = libtorch_gpu(device).filter(|_| ranks.world() > 1) {
        let devices = Nccl::start(&ranks, gpu)?;
        return Ok(Arc::new(WithDevices { host: ranks, devices }));
    }
    let _ = device;
    Ok(ranks)
}

/// The identity of the program: its version and the hash of its file.
pub(crate) fn program() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let file = std::env::current_exe().ok();
    match file.and_then(|path| hash_file(&path).ok()) {
        Some(hash) => format!("{version} ({})", &hash.to_hex()[..16]),
        None => version.to_owned(),
    }
}

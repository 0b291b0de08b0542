//! The slices of a batch that ranks take.

use crate::error::{MixError, Result};

/// Checks that `world` ranks can share a batch in micro-batches and that `rank` is one of them.
///
/// # Errors
/// A zero, a rank not below `world`, or a batch that `world · micro_batch` does not divide.
pub fn check_split(global_batch: u64, rank: u64, world: u64, micro_batch: u64) -> Result<()> {
    for (what, quantity) in [("the world size", world), ("the micro-batch", micro_batch)] {
        if quantity == 0 {
            return Err(MixError::Zero { what });
        }
    }
    if rank >= world {
        return Err(MixError::Rank { rank, world });
    }
    match world.checked_mul(micro_batch) {
        Some(run) if global_batch.is_multiple_of(run) => Ok(()),
        _ => Err(MixError::Split {
            global_batch,
            world,
            micro_batch,
        }),
    }
}

/// What `rank` of `world` takes of a batch: a micro-batch for each accumulation step.
///
/// As in the original, accumulation is the outer order: accumulation step `m` covers
/// `world · micro_batch` successive sequences of the batch, of which each rank takes a run.
///
/// # Errors
/// Those of [`check_split`].
pub fn slice_batch<T: Clone>(batch: &[T], rank: u64, world: u64, micro_batch: u64) -> Result<Vec<Vec<T>>> {
    check_split(batch.len() as u64, rank, world, micro_batch)?;
    // All three are at most the batch's length now.
    let (rank, world, micro_batch) = (rank as usize, world as usize, micro_batch as usize);
    let accumulation_steps = batch.chunks_exact(world * micro_batch);
    Ok(accumulation_steps
        .map(|step| step[rank * micro_batch..][..micro_batch].to_vec())
        .collect())
}

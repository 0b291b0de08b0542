//! From the launcher's placement to a rank that can reach the others.

use std::sync::Arc;
use std::time::Duration;

use crate::{Collective, Placement, Result, Single};

/// How long ranks wait for one another unless told otherwise: long enough for a slow file system, short against what a
/// cluster costs.
pub const RANK_TIMEOUT: Duration = Duration::from_secs(600);

/// This process as a rank: alone where nothing else was started, over MPI otherwise.
///
/// # Errors
/// Several ranks were started, and this build has no MPI or one that does not know the launcher.
pub fn start(placement: &Placement, limit: Duration) -> Result<Arc<dyn Collective>> {
    if placement.world == 1 {
        return Ok(Arc::new(Single::default()));
    }
    several(placement, limit)
}

#[cfg(feature = "mpi")]
fn several(placement: &Placement, limit: Duration) -> Result<Arc<dyn Collective>> {
    Ok(Arc::new(crate::Mpi::start(placement, limit)?))
}

#[cfg(not(feature = "mpi"))]
fn several(placement: &Placement, _limit: Duration) -> Result<Arc<dyn Collective>> {
    Err(crate::CollectiveError::WithoutMpi {
        launcher: placement.launcher.to_string(),
        world: placement.world,
    })
}

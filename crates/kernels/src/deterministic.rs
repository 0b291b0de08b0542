//! Whether the same inputs must give the same bits.

use std::sync::atomic::{AtomicBool, Ordering};

static DETERMINISTIC: AtomicBool = AtomicBool::new(true);

/// Sets, for the whole process, whether operations that sum in whatever order threads come must sum in a fixed one. Of
/// those in use that is flash attention's backward pass on CUDA; all others have one order anyway. On by default.
pub fn set_deterministic(wanted: bool) {
    DETERMINISTIC.store(wanted, Ordering::Relaxed);
}

/// What [`set_deterministic`] was last told.
pub fn is_deterministic() -> bool {
    DETERMINISTIC.load(Ordering::Relaxed)
}

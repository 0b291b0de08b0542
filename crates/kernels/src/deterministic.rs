//! Whether the same inputs must give the same bits.

use std::sync::atomic::{AtomicBool, Ordering};

static DETERMINISTIC: AtomicBool = AtomicBool::new(true);

/// Sets for the whole process whether sums must be computed in a fixed order. It affects flash attention's backward pass on
/// CUDA; all other operations have a fixed order anyway. On by default.
pub fn set_deterministic(wanted: bool) {
    DETERMINISTIC.store(wanted, Ordering::Relaxed);
}

/// The last value of [`set_deterministic`].
pub fn is_deterministic() -> bool {
    DETERMINISTIC.load(Ordering::Relaxed)
}

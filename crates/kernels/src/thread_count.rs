//! Number of threads per process, where several share a machine.
//!
//! Rayon and LibTorch use all cores by default. Several ranks on one machine would then slow each other down: threads that
//! spin while waiting take cores from those that have work.

use std::thread::available_parallelism;

/// An equal share of this machine's cores for each of `ranks` processes, at least one. No more than this process may use:
/// its launcher may have pinned it.
pub fn threads_of_rank(ranks: usize) -> usize {
    let usable = available_parallelism().map_or(1, usize::from);
    // Of the machine, not of this process: cores that it is pinned to are already its share.
    // SAFETY: returns a number.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let online = usize::try_from(online).unwrap_or(usable).max(usable);
    (online / ranks.max(1)).clamp(1, usable)
}

/// Sets the number of threads of all host operations. Call it before the first of them. Numbers set in the environment
/// (`RAYON_NUM_THREADS`, `OMP_NUM_THREADS`) take precedence.
pub fn limit_threads(threads: usize) {
    let is_asked = |variable: &str| std::env::var_os(variable).is_some();
    if !is_asked("RAYON_NUM_THREADS") {
        // Fails if the pool is already running; its size then stays.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
    #[cfg(feature = "tch")]
    if !is_asked("OMP_NUM_THREADS") {
        tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_has_its_part_and_at_least_one() {
        let alone = threads_of_rank(1);
        assert!((1..=available_parallelism().unwrap().get()).contains(&alone));
        assert!(threads_of_rank(2) <= alone && threads_of_rank(2) >= 1);
        assert_eq!(threads_of_rank(100_000), 1);
        assert_eq!(threads_of_rank(0), alone);
    }
}

//! How many threads a process computes with, where several share a machine.
//!
//! Rayon and LibTorch each take all cores unless told otherwise, and several ranks on one machine that all do so hold each
//! other up: threads that wait for work in a busy loop take the cores of those that have some.

use std::thread::available_parallelism;

/// The fair part of this machine's cores for one of `ranks` processes on it; fewer if this process may use fewer, as where
/// its launcher ties it to some. At least one.
pub fn threads_of_rank(ranks: usize) -> usize {
    let usable = available_parallelism().map_or(1, usize::from);
    // Of the machine, not of this process: cores that it is tied to are its own already.
    // SAFETY: asks for a number.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let online = usize::try_from(online).unwrap_or(usable).max(usable);
    (online / ranks.max(1)).clamp(1, usable)
}

/// Sets the number of threads of all host operations. To be called before any has run; a number that the environment
/// asks for (`RAYON_NUM_THREADS`, `OMP_NUM_THREADS`) stays.
pub fn limit_threads(threads: usize) {
    let is_asked = |variable: &str| std::env::var_os(variable).is_some();
    if !is_asked("RAYON_NUM_THREADS") {
        // It fails where the pool runs already, whose size is then as it is.
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

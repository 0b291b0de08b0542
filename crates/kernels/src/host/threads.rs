//! The threads that host loops run on.
//!
//! Under LibTorch they must be LibTorch's: its threads spin while they wait, and would take the cores of a second pool. They
//! belong to its GNU OpenMP library, whose entry point is looked up by name; without one, rayon runs the loops.

use rayon::prelude::*;

/// The pool that runs the tasks of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Rayon's pool.
    Rayon,
    /// LibTorch's pool.
    #[cfg(feature = "tch")]
    LibTorch,
}

impl Threads {
    /// Runs `work` for each of `tasks`, in any order.
    pub(crate) fn each(self, tasks: usize, work: impl Fn(usize) + Sync + Send) {
        match self {
            _ if tasks <= 1 => (0..tasks).for_each(work),
            Self::Rayon => (0..tasks).into_par_iter().for_each(work),
            #[cfg(feature = "tch")]
            Self::LibTorch => openmp::each(tasks, &work),
        }
    }
}

/// A buffer whose disjoint parts are written by different tasks.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    buffer: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: only used through `part`, whose callers never overlap.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(buffer: &'a mut [T]) -> Self {
        Self {
            start: buffer.as_mut_ptr(),
            length: buffer.len(),
            buffer: std::marker::PhantomData,
        }
    }

    /// # Safety
    /// No other live part overlaps `start..start + length`.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start.checked_add(length).is_some_and(|end| end <= self.length));
        // SAFETY: inside the buffer, which is borrowed while this lives; the caller guarantees the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

#[cfg(feature = "tch")]
mod openmp {
    use std::ffi::c_void;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rayon::prelude::*;

    /// `GOMP_parallel(function, data, threads, flags)`: runs `function(data)` once on each thread.
    type Parallel = unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, u32, u32);

    fn entry() -> Option<Parallel> {
        static ENTRY: OnceLock<Option<Parallel>> = OnceLock::new();
        *ENTRY.get_or_init(|| {
            #[cfg(target_os = "linux")]
            {
                // SAFETY: a lookup by name in the loaded libraries.
                let entry = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
                // SAFETY: the library's documented entry point has this type.
                (!entry.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, Parallel>(entry) })
            }
            #[cfg(not(target_os = "linux"))]
            None
        })
    }

    struct Loop<'a> {
        next: AtomicUsize,
        tasks: usize,
        work: &'a (dyn Fn(usize) + Sync),
    }

    impl Loop<'_> {
        fn run(&self) {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.tasks {
                    break;
                }
                (self.work)(task);
            }
        }
    }

    /// A panic in here ends the process: it cannot unwind through foreign frames.
    unsafe extern "C" fn run(data: *mut c_void) {
        // SAFETY: `each` passes a live `Loop` and returns only when all threads are done with it.
        unsafe { &*data.cast::<Loop<'_>>() }.run();
    }

    pub(super) fn each(tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        let Some(parallel) = entry() else {
            return (0..tasks).into_par_iter().for_each(work);
        };
        let threads = u32::try_from(tch::get_num_threads().max(1))
            .unwrap_or(1)
            .min(tasks as u32);
        let mut state = Loop {
            next: AtomicUsize::new(0),
            tasks,
            work,
        };
        // SAFETY: see `run`; OpenMP returns after all threads are done.
        unsafe { parallel(run, (&raw mut state).cast(), threads, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_runs_once() {
        let kinds = [
            Threads::Rayon,
            #[cfg(feature = "tch")]
            Threads::LibTorch,
        ];
        for threads in kinds {
            for tasks in [0, 1, 2, 1000] {
                let mut counts = vec![0u8; tasks];
                let shared = Shared::new(&mut counts);
                // SAFETY: tasks have disjoint parts.
                threads.each(tasks, |task| unsafe { shared.part(task, 1) }[0] += 1);
                assert!(counts.iter().all(|count| *count == 1), "{threads:?} {tasks}");
            }
        }
    }
}

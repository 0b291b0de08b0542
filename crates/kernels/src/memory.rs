//! How the process deals with memory that it is done with.

/// Keeps freed memory for the next allocation instead of giving it back to the system.
///
/// Every step allocates and frees the same large tensors. The system's allocator maps each of them anew, and the
/// kernel clears each page again when it is first touched: a fifth of a step on a CPU. For a process that trains; the
/// peak stays what it was, and what is freed is given back when the process ends. Does nothing but with glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` only changes settings of the allocator, under its own lock.
    unsafe {
        // No allocation by a mapping of its own, and no trimming of the heap's end.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}

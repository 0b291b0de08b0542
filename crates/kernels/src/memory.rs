//! What happens to freed memory, and how much is in use.

use burn::tensor::Device;

/// What happens to freed memory in a process that trains on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreedMemory {
    /// Kept for the next allocation. Every step allocates and frees the same large tensors; returned to the system, their
    /// pages would be cleared on first touch in every step, a fifth of its time. But holes are never returned, and the peak
    /// is a fifth above the memory in use.
    Kept,
    /// Returned to the system at once: the least memory, for runs that recompute activations.
    Returned,
}

impl FreedMemory {
    /// Speed for a run that keeps activations, the least memory for one that recomputes them.
    pub fn of_run(recomputes: bool) -> Self {
        match recomputes {
            true => Self::Returned,
            false => Self::Kept,
        }
    }

    /// Applies to the whole process from here on. No effect without glibc.
    pub fn set(self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: `mallopt` only changes settings of the allocator, under its own lock.
        unsafe {
            match self {
                // No allocation by mmap, and no trimming of the heap.
                Self::Kept => {
                    libc::mallopt(libc::M_MMAP_MAX, 0);
                    libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
                }
                // Every allocation of a megabyte by mmap, without a limit on their number. By default glibc raises that
                // threshold as it goes, and holes between tensors of different sizes double the peak.
                Self::Returned => {
                    libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
                    libc::mallopt(libc::M_MMAP_MAX, i32::MAX);
                }
            }
        }
    }
}

/// Peak memory of the process so far, in bytes.
pub fn peak_memory() -> Option<u64> {
    linux_bytes("/proc/self/status", "VmHWM:")
}

/// The memory of this machine, in bytes.
pub fn total_memory() -> Option<u64> {
    linux_bytes("/proc/meminfo", "MemTotal:")
}

/// An entry of a file of Linux that lists memory in kB.
fn linux_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Peak memory of this process on a GPU so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes of tensors.
    pub tensors: u64,
    /// Bytes reserved on the device for them.
    pub reserved: u64,
}

/// LibTorch's peak memory on a CUDA device; `None` for other devices.
pub fn device_memory(device: &Device) -> Option<DeviceMemory> {
    #[cfg(feature = "tch")]
    if let Some([tensors, reserved]) = crate::libtorch_gpu(device).and_then(crate::tch::device_memory) {
        return Some(DeviceMemory { tensors, reserved });
    }
    let _ = device;
    None
}

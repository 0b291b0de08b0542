//! How the process deals with memory that it is done with, and how much it has taken.

use burn::tensor::Device;

/// What becomes of freed memory, in a process that trains on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreedMemory {
    /// It is kept for the next allocation. Every step allocates and frees the same large tensors; otherwise the system
    /// clears each of their pages again when it is first touched, a fifth of a step. But no hole is ever given back, and
    /// the peak is a fifth above what is in use.
    Kept,
    /// It goes back to the system at once: the least memory, for runs that compute again what they do not keep.
    Returned,
}

impl FreedMemory {
    /// Speed for a run that keeps what it computes, the least memory for one that recomputes.
    pub fn of_run(recomputes: bool) -> Self {
        match recomputes {
            true => Self::Returned,
            false => Self::Kept,
        }
    }

    /// Applies to the whole process from here on. Does nothing but with glibc.
    pub fn set(self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: `mallopt` only changes settings of the allocator, under its own lock.
        unsafe {
            match self {
                // No allocation by a mapping of its own, and no trimming of the heap's end.
                Self::Kept => {
                    libc::mallopt(libc::M_MMAP_MAX, 0);
                    libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
                }
                // Every allocation of a megabyte by a mapping of its own, however many there are. Left alone, glibc
                // raises that size as it goes, and holes between tensors of different sizes double the peak.
                Self::Returned => {
                    libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
                    libc::mallopt(libc::M_MMAP_MAX, i32::MAX);
                }
            }
        }
    }
}

/// The most memory that the process has taken so far, in bytes.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The memory of this machine, in bytes.
pub fn total_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The most memory of a GPU that this process has taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes of tensors.
    pub tensors: u64,
    /// Bytes that were taken from the device for them.
    pub reserved: u64,
}

/// What LibTorch says of a CUDA device; `None` of others.
pub fn device_memory(device: &Device) -> Option<DeviceMemory> {
    #[cfg(feature = "tch")]
    if let Some([tensors, reserved]) = crate::libtorch_gpu(device).and_then(crate::tch::device_memory) {
        return Some(DeviceMemory { tensors, reserved });
    }
    let _ = device;
    None
}

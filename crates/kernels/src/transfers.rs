//! Numbers between the host and a device, and how often they travel: each read waits for all that the device has been given,
//! and each write of ordinary memory does, too.

use std::cell::Cell;

use burn::tensor::Tensor;

/// How often the calling thread has moved numbers by [`upload`] and [`read_back`], or by a fused operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// From the host to a device.
    pub uploads: u64,
    /// From a device to the host.
    pub read_backs: u64,
}

thread_local! {
    static TRANSFERS: Cell<Transfers> = const { Cell::new(Transfers { uploads: 0, read_backs: 0 }) };
}

impl Transfers {
    /// Those of this thread so far.
    pub fn so_far() -> Self {
        TRANSFERS.get()
    }
}

pub(crate) fn count_upload() {
    let so_far = TRANSFERS.get();
    TRANSFERS.set(Transfers {
        uploads: so_far.uploads + 1,
        ..so_far
    });
}

/// Single-precision numbers in the host's memory. Waits for the device.
pub fn read_back(values: Tensor<1>) -> Vec<f32> {
    let so_far = TRANSFERS.get();
    TRANSFERS.set(Transfers {
        read_backs: so_far.read_backs + 1,
        ..so_far
    });
    values.into_data().iter().collect()
}

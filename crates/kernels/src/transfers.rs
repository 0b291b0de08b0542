//! How often numbers travel between the host and a device. Each read waits for all earlier work of the device, and so does
//! each write from pageable memory.

use std::cell::Cell;

use burn::tensor::Tensor;

/// Number of transfers of the calling thread by [`crate::upload`], [`read_back`] and fused operations.
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
    /// The count of this thread so far.
    pub fn so_far() -> Self {
        TRANSFERS.get()
    }
}

pub(crate) fn count_upload() {
    count(|transfers| transfers.uploads += 1);
}

/// Single-precision numbers in the host's memory. Waits for the device.
pub fn read_back(values: Tensor<1>) -> Vec<f32> {
    count(|transfers| transfers.read_backs += 1);
    values.into_data().iter().collect()
}

fn count(add: impl FnOnce(&mut Transfers)) {
    let mut transfers = TRANSFERS.get();
    add(&mut transfers);
    TRANSFERS.set(transfers);
}

//! Ranks that sum between their devices.

use std::sync::Arc;
use std::time::Duration;

use crate::{Collective, DeviceCollective, Meter, Result, Traffic};

/// Ranks with sums between their devices; all else goes over the host.
pub struct WithDevices<D> {
    /// How the ranks reach each other.
    pub host: Arc<dyn Collective>,
    /// How their devices do.
    pub devices: D,
}

impl<D: DeviceCollective> Collective for WithDevices<D> {
    fn rank(&self) -> usize {
        self.host.rank()
    }

    fn world(&self) -> usize {
        self.host.world()
    }

    fn place(&self, rank: usize) -> String {
        self.host.place(rank)
    }

    fn time_limit(&self) -> Duration {
        self.host.time_limit()
    }

    fn meter(&self) -> &Meter {
        self.host.meter()
    }

    fn exchange(
        &self,
        operation: &'static str,
        limit: Duration,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> Result<()> {
        self.host.exchange(operation, limit, send, receive)
    }

    fn finish(&self) -> Result<()> {
        self.host.finish()
    }

    fn abort(&self, reason: &str) {
        self.host.abort(reason);
    }

    fn device_collective(&self) -> Option<&dyn DeviceCollective> {
        Some(&self.devices)
    }

    fn traffic(&self) -> Traffic {
        self.host.traffic() + self.devices.traffic()
    }
}

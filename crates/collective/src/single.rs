//! One rank alone: a run without a launcher.

use std::time::Duration;

use crate::{Collective, Meter, Result};

/// A world of one rank; every operation leaves its values as they are.
#[derive(Debug, Default)]
pub struct Single {
    meter: Meter,
}

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn place(&self, _rank: usize) -> String {
        format!("process {}", std::process::id())
    }

    fn time_limit(&self) -> Duration {
        Duration::MAX
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn exchange(
        &self,
        _operation: &'static str,
        _limit: Duration,
        _send: &[&[u8]],
        _receive: &mut [&mut [u8]],
    ) -> Result<()> {
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn abort(&self, _reason: &str) {}
}

//! Host data a few steps ahead of the device.
//!
//! One thread and a bounded channel: the step fixes the order of data, so racing workers would gain nothing, and a queue of two
//! hides the reading behind the previous step.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::{EngineError, Result};

/// How many steps are read ahead.
const AHEAD: usize = 2;

/// Calls `consume` with `produce(step)` for each step in order, producing ahead on another thread. Ends at the first
/// error, or when `consume` says so.
///
/// # Errors
/// What `produce` or `consume` returned.
pub fn prefetch<T: Send>(
    steps: RangeInclusive<u64>,
    produce: impl Fn(u64) -> Result<T> + Send + Sync,
    mut consume: impl FnMut(u64, &mut dyn FnMut() -> Result<T>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let range = steps.clone();
        scope.spawn(move || {
            for step in range {
                let item = produce(step);
                let failed = item.is_err();
                if sender.send(item).is_err() || failed {
                    break;
                }
            }
        });
        for step in steps {
            let mut take = || match receiver.recv() {
                Ok(item) => item,
                Err(_) => Err(EngineError::Refused(format!(
                    "step {step}: the reading thread ended"
                ))),
            };
            if consume(step, &mut take)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

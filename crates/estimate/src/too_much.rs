//! Settings that need less memory, for a stage that needs more than the device has.

use serde::Serialize;
use smollm3_recipe::Sharding;

use crate::device::Device;
use crate::memory::Memory;
use crate::work::Work;

/// More memory than a device has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TooMuchMemory {
    /// By how much.
    pub over_bytes: u64,
    /// Settings that need less, and the memory with each.
    pub instead: Vec<(String, u64)>,
}

impl TooMuchMemory {
    pub(crate) fn of(work: &Work<'_>, memory: Memory, device: &Device, pairs: bool) -> Option<Self> {
        let over_bytes = memory
            .total
            .checked_sub(device.memory_bytes)
            .filter(|over| *over > 0)?;
        let mut instead = Vec::new();
        let recomputed = Work {
            recompute: true,
            ..*work
        };
        if !work.recompute {
            instead.push(("recompute = \"layers\"".to_owned(), recomputed.memory().total));
        }
        // Half as many rows at once, down to one, until they fit.
        let mut rows = work.micro_batch;
        while rows > 1 {
            rows = (1..rows)
                .rev()
                .find(|fewer| work.micro_batch.is_multiple_of(*fewer))
                .unwrap_or(1);
            let total = Work {
                micro_batch: rows,
                ..*work
            }
            .memory()
            .total;
            if total <= device.memory_bytes || rows == 1 {
                let plural = if rows == 1 { "" } else { "s" };
                instead.push((format!("micro_batch = \"{rows} sequence{plural}\""), total));
                break;
            }
        }
        if work.sharding == Sharding::Optimizer && work.ranks > 1 {
            let sharded = Work {
                sharding: Sharding::Gradients,
                ..recomputed
            };
            instead.push((
                "run.shard = \"gradients\" with it".to_owned(),
                sharded.memory().total,
            ));
        }
        // More devices leave each less of the moments, and nothing less of the rest.
        if memory.total - memory.moments <= device.memory_bytes {
            instead.push(("ever more devices".to_owned(), memory.total - memory.moments));
        }
        if instead.is_empty() {
            let shorter = Work {
                sequence_length: work.sequence_length / 2,
                ..*work
            };
            let key = if pairs { "row_length" } else { "sequence_length" };
            instead.push((
                format!("{key} = {}", shorter.sequence_length),
                shorter.memory().total,
            ));
        }
        Some(Self { over_bytes, instead })
    }
}

//! Settings that need less memory, for a stage that needs more than the device has.

use serde::Serialize;
use smollm3_recipe::Sharding;

use crate::device::Device;
use crate::figures::plural;
use crate::memory::Memory;
use crate::step_work::StepWork;

/// More memory than a device has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TooMuchMemory {
    /// By how much.
    pub over_bytes: u64,
    /// Settings that need less, and the memory with each.
    pub instead: Vec<(String, u64)>,
}

impl TooMuchMemory {
    pub(crate) fn of(work: &StepWork<'_>, memory: Memory, device: &Device, pairs: bool) -> Option<Self> {
        let over_bytes = memory.total.saturating_sub(device.memory_bytes);
        if over_bytes == 0 {
            return None;
        }
        let mut instead = Vec::new();
        let recomputed = StepWork {
            recompute: true,
            ..*work
        };
        if !work.recompute {
            instead.push(("recompute = \"layers\"".to_owned(), recomputed.memory().total));
        }
        // Ever fewer rows at once, down to one, until they fit.
        let fewer = (1..work.micro_batch)
            .rev()
            .filter(|rows| work.micro_batch.is_multiple_of(*rows));
        for micro_batch in fewer {
            let total = StepWork { micro_batch, ..*work }.memory().total;
            if total <= device.memory_bytes || micro_batch == 1 {
                let end = plural(micro_batch);
                instead.push((format!("micro_batch = \"{micro_batch} sequence{end}\""), total));
                break;
            }
        }
        if work.sharding == Sharding::Optimizer && work.ranks > 1 {
            let sharded = StepWork {
                sharding: Sharding::Gradients,
                ..recomputed
            };
            let change = "run.shard = \"gradients\" with it".to_owned();
            instead.push((change, sharded.memory().total));
        }
        // More devices leave each less of the moments, and no less of the rest.
        let rest = memory.total - memory.moments;
        if rest <= device.memory_bytes {
            instead.push(("ever more devices".to_owned(), rest));
        }
        if instead.is_empty() {
            let sequence_length = work.sequence_length / 2;
            let key = if pairs { "row_length" } else { "sequence_length" };
            let total = StepWork {
                sequence_length,
                ..*work
            }
            .memory()
            .total;
            instead.push((format!("{key} = {sequence_length}"), total));
        }
        Some(Self { over_bytes, instead })
    }
}

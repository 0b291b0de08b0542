//! What a stage trains, and where its losses are counted.

use burn::tensor::{Device, Int, Tensor};
use smollm3_kernels::Documents;
use smollm3_records::{NATS_PER_TOKEN, SourceRecord};

use crate::Result;

/// What a stage trains: a loss of the model on one of its micro-batches.
pub trait Objective {
    /// A micro-batch on the host.
    type HostBatch: Send;

    /// A micro-batch on the device.
    type MicroBatch;

    /// The unit of the loss, for people.
    const LOSS_UNIT: &'static str = NATS_PER_TOKEN;

    /// The names of the figures that are recorded with the loss.
    const OBSERVED: &'static [&'static str] = &[];

    /// Copies a micro-batch to the device.
    ///
    /// # Errors
    /// Its rows do not fit together.
    fn to_device(&self, batch: Self::HostBatch, device: &Device) -> Result<Self::MicroBatch>;

    /// Where each row's losses are counted, and its number of targets.
    fn origins<'b>(&self, batch: &'b Self::MicroBatch) -> &'b [RowOrigin];

    /// The model's inputs: `[batch, seq]` token ids and where documents begin.
    fn inputs<'b>(&self, batch: &'b Self::MicroBatch) -> (Tensor<2, Int>, &'b Documents);

    /// The summed loss of a micro-batch, from the model's last hidden states `[batch, seq, hidden]` and its head
    /// `[vocab_size, hidden]`.
    fn loss(&self, hidden: Tensor<3>, head: Tensor<2>, batch: &Self::MicroBatch) -> ObjectiveLoss;
}

/// The loss of a micro-batch.
#[derive(Debug, Clone)]
pub struct ObjectiveLoss {
    /// Summed over the targets, `[1]`, `f32`.
    pub sum: Tensor<1>,
    /// The summands, equally many for each origin, one origin after the other; without gradient.
    pub losses: Tensor<1>,
    /// The other figures, summed over the targets, in the order of [`Objective::OBSERVED`].
    pub observed: Vec<f64>,
}

/// Where the losses of one row of a micro-batch are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowOrigin {
    /// Index into the stage's sources.
    pub source: usize,
    /// Targets of the row.
    pub targets: usize,
}

/// The number of targets of a micro-batch.
pub(crate) fn target_count(origins: &[RowOrigin]) -> usize {
    origins.iter().map(|origin| origin.targets).sum()
}

/// The part of one source in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SourceLoss {
    /// Rows.
    pub rows: u64,
    /// Summed loss in nats.
    pub sum: f64,
    /// Targets.
    pub targets: u64,
}

impl From<SourceLoss> for SourceRecord {
    fn from(part: SourceLoss) -> Self {
        Self {
            rows: part.rows,
            loss: part.sum / part.targets.max(1) as f64,
            targets: part.targets,
        }
    }
}

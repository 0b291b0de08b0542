//! Packed rows, on the host and on the device.

use burn::tensor::{Device, Int, Tensor};
use smollm3_kernels::{Documents, DocumentsError, LossSum, Targets, linear_cross_entropy, upload};

use crate::{Objective, ObjectiveLoss, RowOrigin};

/// One packed row: inputs, what each position predicts, where documents begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Inputs.
    pub ids: Vec<u32>,
    /// The token each position predicts, `None` where it predicts nothing.
    pub targets: Vec<Option<u32>>,
    /// Document starts, the first 0.
    pub starts: Vec<usize>,
    /// Where it comes from, as an index into the stage's sources.
    pub source: usize,
}

/// Rows of equal length on a device.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// `[batch, seq]`.
    pub ids: Tensor<2, Int>,
    /// Document boundaries.
    pub documents: Documents,
    /// What is to be predicted, `batch · seq` entries.
    pub targets: Targets,
    /// One a row.
    pub origins: Vec<RowOrigin>,
}

impl MicroBatch {
    /// Moves rows of equal length to `device`.
    ///
    /// # Errors
    /// The rows' document starts do not fit their length.
    pub fn new(rows: &[Row], device: &Device) -> Result<Self, DocumentsError> {
        let seq = rows.first().map_or(0, |row| row.ids.len());
        let ids: Vec<i32> = rows
            .iter()
            .flat_map(|row| row.ids.iter().map(|id| *id as i32))
            .collect();
        let targets: Vec<Option<u32>> = rows.iter().flat_map(|row| row.targets.iter().copied()).collect();
        let starts = rows.iter().map(|row| row.starts.clone()).collect();
        Ok(Self {
            ids: upload(ids, device).reshape([rows.len(), seq]),
            documents: Documents::new(starts, seq)?,
            targets: Targets::new(&targets, device),
            origins: rows
                .iter()
                .map(|row| RowOrigin {
                    source: row.source,
                    targets: row.targets.iter().flatten().count(),
                })
                .collect(),
        })
    }
}

/// Cross-entropy of each row's targets: pretraining and supervised fine-tuning.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    type MicroBatch = MicroBatch;

    fn targets(&self, batch: &MicroBatch) -> usize {
        batch.targets.count()
    }

    fn origins<'b>(&self, batch: &'b MicroBatch) -> &'b [RowOrigin] {
        &batch.origins
    }

    fn rows<'b>(&self, batch: &'b MicroBatch) -> (Tensor<2, Int>, &'b Documents) {
        (batch.ids.clone(), &batch.documents)
    }

    fn loss(&self, hidden: Tensor<3>, head: Tensor<2>, batch: &MicroBatch) -> ObjectiveLoss {
        let [rows, seq, width] = hidden.dims();
        let hidden = hidden.reshape([rows * seq, width]);
        let LossSum { sum, losses, count } = linear_cross_entropy(hidden, head, &batch.targets);
        ObjectiveLoss {
            sum,
            losses,
            count,
            observed: Vec::new(),
        }
    }
}

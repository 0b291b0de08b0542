//! Packed rows, on the host and on the device.

use std::iter::repeat_n;

use burn::tensor::{Device, Int, Tensor};
use smollm3_kernels::{Documents, DocumentsError, LossSum, Targets, linear_cross_entropy, upload};
use smollm3_mixer::Sequence;

use super::objective::{Objective, ObjectiveLoss, RowOrigin};
use crate::Result;

/// One packed row: inputs, targets, document starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

impl Row {
    /// The row of a window of the source with this index.
    pub fn of_window(sequence: &Sequence, source: usize) -> Self {
        Self {
            ids: sequence.inputs().to_vec(),
            targets: sequence.targets(),
            starts: sequence.document_starts(),
            source,
        }
    }

    /// Appends a document, of which the tokens marked in `learned` are targets. Its first token never is: nothing before it
    /// predicts it.
    pub fn append(&mut self, ids: &[u32], learned: &[bool]) {
        self.starts.push(self.ids.len());
        self.ids.extend(ids);
        let next = ids.iter().zip(learned).skip(1);
        self.targets
            .extend(next.map(|(id, learned)| learned.then_some(*id)));
        // The next token is another document's.
        self.targets.resize(self.ids.len(), None);
    }
}

/// Rows on a device.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// `[batch, seq]`.
    pub ids: Tensor<2, Int>,
    /// Document boundaries.
    pub documents: Documents,
    /// Targets, `batch · seq` entries.
    pub targets: Targets,
    /// One a row.
    pub origins: Vec<RowOrigin>,
}

impl MicroBatch {
    /// Copies rows to `device`. Rows shorter than the longest end in a document of padding without targets.
    ///
    /// # Errors
    /// The rows' document starts do not fit their length.
    pub fn new(rows: &[Row], device: &Device) -> Result<Self, DocumentsError> {
        let seq = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let padding = |row: &Row| seq - row.ids.len();
        let ids = rows.iter().flat_map(|row| {
            let ids = row.ids.iter().map(|id| *id as i32);
            ids.chain(repeat_n(0, padding(row)))
        });
        let targets = rows.iter().flat_map(|row| {
            let targets = row.targets.iter().copied();
            targets.chain(repeat_n(None, padding(row)))
        });
        let starts = rows.iter().map(|row| {
            let padded = (padding(row) > 0).then_some(row.ids.len());
            row.starts.iter().copied().chain(padded).collect::<Vec<_>>()
        });
        let (ids, targets): (Vec<i32>, Vec<Option<u32>>) = (ids.collect(), targets.collect());
        Ok(Self {
            ids: upload(ids, device).reshape([rows.len(), seq]),
            documents: Documents::new(starts.collect(), seq)?,
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
    type HostBatch = Vec<Row>;
    type MicroBatch = MicroBatch;

    fn to_device(&self, rows: Vec<Row>, device: &Device) -> Result<MicroBatch> {
        Ok(MicroBatch::new(&rows, device)?)
    }

    fn origins<'b>(&self, batch: &'b MicroBatch) -> &'b [RowOrigin] {
        &batch.origins
    }

    fn inputs<'b>(&self, batch: &'b MicroBatch) -> (Tensor<2, Int>, &'b Documents) {
        (batch.ids.clone(), &batch.documents)
    }

    fn loss(&self, hidden: Tensor<3>, head: Tensor<2>, batch: &MicroBatch) -> ObjectiveLoss {
        let [rows, seq, width] = hidden.dims();
        let hidden = hidden.reshape([rows * seq, width]);
        let LossSum { sum, losses } = linear_cross_entropy(hidden, head, &batch.targets);
        ObjectiveLoss {
            sum,
            losses,
            observed: Vec::new(),
        }
    }
}

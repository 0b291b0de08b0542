//! Where documents begin in packed rows: the host-side description that attention, positions and targets share.
//!
//! Kept on the host because kernels plan their work from it (one fused call per document); a device tensor would have to be
//! read back. GPU kernels read an upload that is made once and kept here: all layers of a micro-batch, forward and backward,
//! share one [`Documents`].

use std::sync::Arc;

/// The starts do not describe the rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentsError {
    /// A row's first document must begin at 0.
    #[error("row {row}: the first document starts at {start:?}; it must start at 0")]
    FirstStart {
        /// The row.
        row: usize,
        /// Its first start, `None` for an empty list.
        start: Option<usize>,
    },
    /// Starts must increase and stay inside the row.
    #[error("row {row}: document start {start} must lie after {previous} and before the row's end {seq}")]
    Order {
        /// The row.
        row: usize,
        /// The invalid start.
        start: usize,
        /// The start before it.
        previous: usize,
        /// The row's length.
        seq: usize,
    },
}

/// Document boundaries of `batch` rows of `seq` tokens. Cheap to clone: clones share everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    seq: usize,
    starts: Vec<Vec<usize>>,
    #[cfg(feature = "tch")]
    uploaded: crate::tch::DeviceCopy,
}

impl Documents {
    /// Rows with the given document starts, one list per row: increasing, the first 0.
    ///
    /// # Errors
    /// The first list that does not describe a row of `seq` tokens.
    pub fn new(starts: Vec<Vec<usize>>, seq: usize) -> Result<Self, DocumentsError> {
        for (row, list) in starts.iter().enumerate() {
            if list.first() != Some(&0) {
                return Err(DocumentsError::FirstStart {
                    row,
                    start: list.first().copied(),
                });
            }
            for pair in list.windows(2) {
                if pair[1] <= pair[0] || pair[1] >= seq {
                    return Err(DocumentsError::Order {
                        row,
                        start: pair[1],
                        previous: pair[0],
                        seq,
                    });
                }
            }
        }
        Ok(Self::checked(starts, seq))
    }

    fn checked(starts: Vec<Vec<usize>>, seq: usize) -> Self {
        Self(Arc::new(Inner {
            seq,
            starts,
            #[cfg(feature = "tch")]
            uploaded: crate::tch::DeviceCopy::default(),
        }))
    }

    /// `batch` rows of one document each.
    pub fn whole_rows(batch: usize, seq: usize) -> Self {
        Self::checked(vec![vec![0]; batch], seq)
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.0.starts.len()
    }

    /// Tokens in a row.
    pub fn seq(&self) -> usize {
        self.0.seq
    }

    /// Document starts of each row.
    pub fn starts(&self) -> &[Vec<usize>] {
        &self.0.starts
    }

    /// Whether every row is a single document.
    pub fn is_whole_rows(&self) -> bool {
        self.0.starts.iter().all(|starts| starts.len() == 1)
    }

    /// `(start, length)` of every document of one row.
    pub fn spans(&self, row: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = &self.0.starts[row];
        starts
            .iter()
            .enumerate()
            .map(|(i, &start)| (start, starts.get(i + 1).unwrap_or(&self.0.seq) - start))
    }

    /// Position of every token inside its document, row after row: `batch · seq` numbers.
    pub fn positions(&self) -> Vec<u32> {
        self.per_token(|start, token, _| (token - start) as u32)
    }

    /// Index of every token's document inside its row, row after row.
    pub fn document_ids(&self) -> Vec<u32> {
        self.per_token(|_, _, document| document as u32)
    }

    /// The copy for GPU kernels.
    #[cfg(feature = "tch")]
    pub(crate) fn uploaded(&self) -> &crate::tch::DeviceCopy {
        &self.0.uploaded
    }

    fn per_token(&self, value: impl Fn(usize, usize, usize) -> u32) -> Vec<u32> {
        let mut values = Vec::with_capacity(self.batch() * self.0.seq);
        for row in 0..self.batch() {
            for (document, (start, length)) in self.spans(row).enumerate() {
                values.extend((start..start + length).map(|token| value(start, token, document)));
            }
        }
        values
    }
}

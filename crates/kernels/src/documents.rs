//! Where documents begin in packed rows: the host-side description that attention, positions and targets share.
//!
//! Kept on the host because kernels choose their work from it (one fused call a document); a device tensor would
//! have to be read back.

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
        /// The start at fault.
        start: usize,
        /// The start before it.
        previous: usize,
        /// Length of the row.
        seq: usize,
    },
}

/// Document boundaries of `batch` rows of `seq` tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    seq: usize,
    starts: Vec<Vec<usize>>,
}

impl Documents {
    /// Rows with the given document starts, one list a row: increasing, the first 0.
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
        Ok(Self { seq, starts })
    }

    /// `batch` rows of one document each.
    pub fn whole_rows(batch: usize, seq: usize) -> Self {
        Self {
            seq,
            starts: vec![vec![0]; batch],
        }
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.starts.len()
    }

    /// Tokens in a row.
    pub fn seq(&self) -> usize {
        self.seq
    }

    /// Document starts of each row.
    pub fn starts(&self) -> &[Vec<usize>] {
        &self.starts
    }

    /// Whether every row is a single document.
    pub fn is_whole_rows(&self) -> bool {
        self.starts.iter().all(|starts| starts.len() == 1)
    }

    /// `(start, length)` of every document of one row.
    pub fn spans(&self, row: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = &self.starts[row];
        starts
            .iter()
            .enumerate()
            .map(|(i, &start)| (start, starts.get(i + 1).unwrap_or(&self.seq) - start))
    }

    /// Position of every token inside its document, row after row: `batch · seq` numbers.
    pub fn positions(&self) -> Vec<u32> {
        self.per_token(|start, token, _| (token - start) as u32)
    }

    /// Index of every token's document inside its row, row after row.
    pub fn document_ids(&self) -> Vec<u32> {
        self.per_token(|_, _, document| document as u32)
    }

    fn per_token(&self, value: impl Fn(usize, usize, usize) -> u32) -> Vec<u32> {
        let mut values = Vec::with_capacity(self.batch() * self.seq);
        for row in 0..self.batch() {
            for (document, (start, length)) in self.spans(row).enumerate() {
                values.extend((start..start + length).map(|token| value(start, token, document)));
            }
        }
        values
    }
}

//! Packed rows as the batches of a stage.

use std::collections::BTreeMap;

use smollm3_engine::{Dataset, EngineError, RankSlice, Row, StageData};
use smollm3_recipe::Phase;
use smollm3_records::{RowRef, SourceName};

use crate::packed_rows::PackedRows;

/// All conversations count as one source.
pub(crate) const CONVERSATIONS: &str = "conversations";

/// This rank's batches.
pub(crate) struct PackedBatches {
    pub rows: PackedRows,
    pub slice: RankSlice,
    pub steps: u64,
}

impl Dataset<Vec<Vec<Row>>, EngineError> for PackedBatches {
    fn get(&self, index: usize) -> Result<Vec<Vec<Row>>, EngineError> {
        let numbers = self.slice.of(self.rows.numbers(index as u64 + 1))?;
        Ok(self.slice.micro_batches(self.rows.rows_of(&numbers)?))
    }

    fn len(&self) -> usize {
        self.steps as usize
    }
}

impl StageData<Vec<Row>> for PackedBatches {
    fn sources(&self) -> Vec<SourceName> {
        vec![SourceName {
            name: CONVERSATIONS.to_owned(),
            category: CONVERSATIONS.to_owned(),
        }]
    }

    fn shares(&self, _: &Phase) -> BTreeMap<String, f64> {
        [(CONVERSATIONS.to_owned(), 1.0)].into()
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let row = |number| RowRef {
            source: CONVERSATIONS.to_owned(),
            window: number,
        };
        self.rows.numbers(step).into_iter().map(row).collect()
    }
}

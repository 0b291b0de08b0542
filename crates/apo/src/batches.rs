//! Pairs as the batches of a stage.

use std::collections::BTreeMap;

use smollm3_engine::{Dataset, EngineError, RankSlice, StageData};
use smollm3_recipe::Phase;
use smollm3_records::{RowRef, SourceName};

use crate::pair_rows::{PairRow, PairRows};

/// This rank's batches, a row of whole pairs a micro-batch.
pub(crate) struct PairBatches {
    pub pairs: PairRows,
    /// Pairs are dealt out before they are packed: each rank packs its own rows.
    pub slice: RankSlice,
    pub steps: u64,
    /// Name and pairs of each source.
    pub sources: Vec<(String, u64)>,
}

impl Dataset<Vec<PairRow>, EngineError> for PairBatches {
    fn get(&self, index: usize) -> Result<Vec<PairRow>, EngineError> {
        let pairs = self.slice.of(self.pairs.numbers(index as u64 + 1))?;
        Ok(self.pairs.rows_of(&pairs)?)
    }

    fn len(&self) -> usize {
        self.steps as usize
    }
}

impl StageData<PairRow> for PairBatches {
    fn sources(&self) -> Vec<SourceName> {
        let source = |(name, _): &(String, u64)| SourceName {
            name: name.clone(),
            category: "pairs".to_owned(),
        };
        self.sources.iter().map(source).collect()
    }

    fn shares(&self, _: &Phase) -> BTreeMap<String, f64> {
        let share = |pairs: u64| pairs as f64 / self.pairs.len().max(1) as f64;
        let sources = self.sources.iter();
        sources
            .map(|(name, pairs)| (name.clone(), share(*pairs)))
            .collect()
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let pair = |number| RowRef {
            source: "pairs".to_owned(),
            window: number,
        };
        self.pairs.numbers(step).into_iter().map(pair).collect()
    }
}

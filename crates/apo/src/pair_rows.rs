//! Pairs packed into rows.
//!
//! The pairs of a step are packed by best fit, both answers of a pair into one row, because their losses depend on each
//! other. Rows are as long as their documents: nothing is padded.

use std::ops::Range;

use smollm3_conversations::{ConversationStore, Document, Result};
use smollm3_engine::Row;
use smollm3_packing::{Packing, Settings, TooLong, pack};

/// A pair in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairSpan {
    /// Its number in the store.
    pub pair: u64,
    /// Where it comes from, as an index into the stage's sources.
    pub source: usize,
    /// The positions that predict the tokens of the chosen answer, and those of the rejected one.
    pub answers: [Range<usize>; 2],
}

/// A row of whole pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairRow {
    /// Inputs, targets, document starts.
    pub row: Row,
    /// The pairs in it.
    pub pairs: Vec<PairSpan>,
}

/// Packs pairs into rows of at most `row_length` tokens. `pairs` are numbers, sources and the documents of both answers.
///
/// # Errors
/// A pair is longer than a row.
pub fn pack_pairs(pairs: &[(u64, usize, [Document; 2])], row_length: u64) -> Result<Vec<PairRow>> {
    let lengths: Vec<u32> = pairs
        .iter()
        .map(|(_, _, documents)| documents.iter().map(|document| document.ids.len() as u32).sum())
        .collect();
    let settings = Settings {
        row: u32::try_from(row_length).unwrap_or(u32::MAX),
        packing: Packing::Bfd,
        too_long: TooLong::Error,
        group: None,
    };
    let rows = pack(&lengths, &settings)?;
    Ok((0..rows.len())
        .map(|row| {
            let fragments = rows.get(row).unwrap_or_default();
            row_of(
                fragments
                    .iter()
                    .filter_map(|fragment| pairs.get(fragment.document as usize)),
            )
        })
        .collect())
}

fn row_of<'a>(pairs: impl Iterator<Item = &'a (u64, usize, [Document; 2])>) -> PairRow {
    let mut row = Row::default();
    let spans = pairs.map(|(pair, source, documents)| PairSpan {
        pair: *pair,
        source: *source,
        answers: [0, 1].map(|side| append(&mut row, &documents[side])),
    });
    let pairs = spans.collect();
    PairRow { row, pairs }
}

/// Appends a document; returns the positions that predict its answer, which is its end.
fn append(row: &mut Row, document: &Document) -> Range<usize> {
    let start = row.ids.len();
    row.append(&document.ids, &document.learned);
    let prompt = document.learned.iter().take_while(|learned| !**learned).count();
    start + prompt.max(1) - 1..row.ids.len() - 1
}

/// The pairs of a stage.
#[derive(Debug)]
pub struct PairRows {
    store: ConversationStore,
    /// Where the pairs of each source end.
    ends: Vec<u64>,
    row_length: u64,
}

impl PairRows {
    /// The pairs of a store, in which both documents of a pair stand one after the other, and the sources' pairs too, as
    /// many as `pairs_of_sources` says.
    pub fn new(store: ConversationStore, pairs_of_sources: &[u64], row_length: u64) -> Self {
        let mut end = 0;
        let ends = pairs_of_sources.iter().map(|pairs| {
            end += pairs;
            end
        });
        Self {
            ends: ends.collect(),
            store,
            row_length,
        }
    }

    /// Number of pairs.
    pub fn count(&self) -> u64 {
        self.store.len() / 2
    }

    /// Tokens of all of them, prompts counted twice.
    pub fn tokens(&self) -> u64 {
        (0..self.store.len())
            .map(|document| self.store.length(document))
            .sum()
    }

    /// Rows of the pairs with these numbers.
    ///
    /// # Errors
    /// There is no such pair.
    pub fn rows_of(&self, pairs: &[u64]) -> Result<Vec<PairRow>> {
        let pairs: Vec<(u64, usize, [Document; 2])> = pairs
            .iter()
            .map(|pair| {
                let source = self.ends.partition_point(|end| end <= pair);
                let answers = [
                    self.store.conversation(2 * pair)?,
                    self.store.conversation(2 * pair + 1)?,
                ];
                Ok((*pair, source, answers))
            })
            .collect::<Result<_>>()?;
        pack_pairs(&pairs, self.row_length)
    }
}

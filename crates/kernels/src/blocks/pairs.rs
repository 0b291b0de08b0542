//! Which blocks of keys a block of queries attends to.

use std::ops::Range;

use crate::Documents;

/// A block of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyBlock {
    pub index: usize,
    pub keys: Range<usize>,
    /// Whether some query of the block must not see some of these keys.
    pub masked: bool,
}

/// Rows of `seq` tokens cut into blocks; the last may be shorter.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    size: usize,
    seq: usize,
    /// For each block, over all rows: the earliest start of its first query's document, and the latest start of its last
    /// query's. Both only grow along a row.
    visible: Vec<(usize, usize)>,
}

impl Blocks {
    pub fn new(documents: &Documents, size: usize) -> Self {
        let seq = documents.seq();
        let start_of = |row: usize, token: usize| {
            let starts = &documents.starts()[row];
            starts[starts.partition_point(|start| *start <= token) - 1]
        };
        let rows = || 0..documents.batch();
        let visible = (0..seq)
            .step_by(size)
            .map(|first| {
                let last = (first + size).min(seq) - 1;
                let least = rows().map(|row| start_of(row, first)).min();
                let most = rows().map(|row| start_of(row, last)).max();
                (least.unwrap_or(first), most.unwrap_or(first))
            })
            .collect();
        Self { size, seq, visible }
    }

    pub fn count(&self) -> usize {
        self.visible.len()
    }

    /// Tokens of the block with this index.
    pub fn tokens(&self, index: usize) -> Range<usize> {
        let start = index * self.size;
        start..(start + self.size).min(self.seq)
    }

    /// The keys of block `index` itself. They come first, so a maximum is never that of masked scores only.
    pub fn own(&self, index: usize) -> KeyBlock {
        KeyBlock {
            index,
            keys: self.tokens(index),
            masked: true,
        }
    }

    /// The earlier keys that some query of block `index` sees: backwards to the block in which the earliest of its
    /// documents begins.
    pub fn earlier(&self, index: usize) -> impl Iterator<Item = KeyBlock> {
        let (least, most) = self.visible[index];
        (least / self.size..index).rev().map(move |key| {
            let keys = self.tokens(key);
            KeyBlock {
                index: key,
                masked: most > keys.start,
                keys,
            }
        })
    }

    /// [`Self::own`], then [`Self::earlier`].
    pub fn keys_of(&self, index: usize) -> impl Iterator<Item = KeyBlock> {
        std::iter::once(self.own(index)).chain(self.earlier(index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against all pairs of tokens: omitted keys are visible to no query, unmasked keys to all.
        #[test]
        fn exactly_the_visible_blocks_are_attended_to(
            lengths in prop::collection::vec(prop::collection::vec(1usize..20, 1..6), 1..4), size in 1usize..12,
        ) {
            let seq = lengths.iter().map(|row| row.iter().sum()).max().unwrap();
            let starts = |row: &Vec<usize>| {
                let mut starts = vec![0];
                let mut at = 0;
                for length in row {
                    at += length;
                    if at < seq {
                        starts.push(at);
                    }
                }
                starts
            };
            let documents = Documents::new(lengths.iter().map(starts).collect(), seq).unwrap();
            let positions = documents.positions();
            let sees = |row: usize, query: usize, key: usize| {
                key <= query && key + positions[row * seq + query] as usize >= query
            };
            let blocks = Blocks::new(&documents, size);
            for query_block in 0..blocks.count() {
                let found: Vec<KeyBlock> = blocks.keys_of(query_block).collect();
                prop_assert_eq!(found[0].index, query_block);
                for key_block in 0..blocks.count() {
                    let pairs: Vec<bool> = (0..documents.batch())
                        .flat_map(|row| blocks.tokens(query_block).map(move |query| (row, query)))
                        .flat_map(|(row, query)| blocks.tokens(key_block).map(move |key| (row, query, key)))
                        .map(|(row, query, key)| sees(row, query, key))
                        .collect();
                    match found.iter().find(|found| found.index == key_block) {
                        None => prop_assert!(!pairs.contains(&true)),
                        Some(found) => {
                            prop_assert!(pairs.contains(&true));
                            // A block of one query masks nothing on its diagonal, but is marked as masked.
                            prop_assert!(found.masked || !pairs.contains(&false));
                            prop_assert!(!found.masked || pairs.contains(&false) || key_block == query_block);
                        }
                    }
                }
            }
        }
    }
}

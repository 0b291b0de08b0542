//! Packed rows: a pure function of the conversations and the settings.
//!
//! Conversations are put in an order fixed by the run's seed and packed once.

use smollm3_conversations::{ConversationStore, ConversationsError, Document, Result};
use smollm3_engine::Row;
use smollm3_mixer::Permutation;
use smollm3_packing::{Fragment, RowPlan, Settings, pack};
use smollm3_records::Ledger;

/// The rows of a stage.
pub struct PackedRows {
    store: ConversationStore,
    /// Conversation of each document that was packed.
    order: Permutation,
    rows: RowPlan,
    /// Those of the packed rows that have something to learn, in order.
    learning: Vec<u32>,
    ledger: Ledger,
}

impl PackedRows {
    /// Packs the conversations of a store. Rows without anything to learn, which arise where a stream is cut or a long conversation
    /// split, are left out.
    ///
    /// # Errors
    /// A conversation is too long and the settings make that an error, or nothing is left.
    pub fn new(store: ConversationStore, settings: &Settings, seed: u64) -> Result<Self> {
        let key = *blake3::hash(format!("{seed} rows").as_bytes()).as_bytes();
        let order = Permutation::new(store.len(), &key, u64::MAX);
        let conversation = |document: u64| order.get(document).unwrap_or(document);
        let lengths: Vec<u32> = (0..store.len())
            .map(|document| u32::try_from(store.length(conversation(document))).unwrap_or(u32::MAX))
            .collect();
        let rows = pack(&lengths, settings)?;
        if rows.is_empty() {
            return Err(ConversationsError::Refused(
                "no row is left after packing; raise sequence_length or write too_long = \"truncate\""
                    .to_owned(),
            ));
        }
        let (mut trained, mut unlearned) = (0, 0);
        let mut learning = Vec::with_capacity(rows.len());
        for (row, pieces) in (0..).zip(rows.iter()) {
            let learned = pieces.iter().map(|piece| {
                let conversation = conversation(u64::from(piece.document));
                store.learned(conversation, u64::from(piece.start), u64::from(piece.length))
            });
            match learned.sum::<u64>() {
                0 => unlearned += pieces.iter().map(|piece| u64::from(piece.length)).sum::<u64>(),
                learned => {
                    trained += learned;
                    learning.push(row);
                }
            }
        }
        if learning.is_empty() {
            return Err(ConversationsError::Refused(
                "no row holds anything to learn after packing; raise sequence_length".to_owned(),
            ));
        }
        let packing = *rows.ledger();
        let ledger = Ledger {
            input: packing.input,
            trained,
            masked: packing.kept - trained - unlearned,
            truncated: packing.truncated,
            dropped: packing.dropped + unlearned,
            packing,
        };
        Ok(Self {
            store,
            order,
            rows,
            learning,
            ledger,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.learning.len() as u64
    }

    /// Always false; here for clippy.
    pub fn is_empty(&self) -> bool {
        self.learning.is_empty()
    }

    /// Where each token went.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Rows with these numbers, not padded.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn rows_of(&self, numbers: &[u64]) -> Result<Vec<Row>> {
        numbers.iter().map(|row| self.row(*row)).collect()
    }

    /// Row `number`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn row(&self, number: u64) -> Result<Row> {
        let mut row = Row::default();
        let packed = self.learning.get(number as usize).map(|row| *row as usize);
        for piece in packed.and_then(|row| self.rows.get(row)).unwrap_or_default() {
            self.append(&mut row, piece)?;
        }
        Ok(row)
    }

    fn append(&self, row: &mut Row, piece: &Fragment) -> Result<()> {
        let conversation = u64::from(piece.document);
        let conversation = self.order.get(conversation).unwrap_or(conversation);
        let Document { ids, learned } = self.store.conversation(conversation)?;
        let span = piece.start as usize..(piece.start + piece.length) as usize;
        row.append(
            ids.get(span.clone()).unwrap_or_default(),
            learned.get(span).unwrap_or_default(),
        );
        Ok(())
    }
}

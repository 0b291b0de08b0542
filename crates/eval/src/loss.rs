//! Loss on text: nats a token, bits a byte, perplexity, by source.
//!
//! As in training: a document is its text and one end of text, its first token is no target, and documents do not see each
//! other. A document longer than the model's context (or the one asked for) is cut into pieces
//! that overlap by one token, so that every other token is predicted once. Bits a byte count the bytes of the tokens
//! predicted, and can be compared between tokenizers.
//!
//! Differs from lm-evaluation-harness's rolling log-likelihood, which also predicts the first token, from a beginning of
//! text that these models were not trained with, and not the end.

use burn::module::Module;
use serde::{Deserialize, Serialize};
use smollm3_corpus::read::{self, Position};
use smollm3_corpus::shards::{LocalShards, Shards};
use smollm3_corpus::tokenizer::SpecialTokens;
use smollm3_corpus::{CorpusError, TokenStore};
use smollm3_engine::{EngineError, MicroBatch, Row, token_bytes, token_losses};
use smollm3_inference::TextModel;
use smollm3_model::{GenerateError, SmolLm3};

use crate::error::finite;
use crate::estimate::Estimate;
use crate::item_log::ItemLog;
use crate::{EvalError, Result};

/// Text to measure the loss on.
#[derive(Debug)]
pub enum LossSource {
    /// Tokens, document by document.
    Store(TokenStore),
    /// Files of rows with a column of text.
    Text {
        /// The files.
        files: LocalShards,
        /// The column.
        column: String,
    },
}

/// The result of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentLoss {
    /// The source, by the name it was given.
    pub source: String,
    /// The document, counted in its source from 0.
    pub document: u64,
    /// Σ −ln p.
    pub nats: f64,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes that they stand for.
    pub bytes: u64,
}

/// Loss on a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceLoss {
    /// The source.
    pub source: String,
    /// Documents.
    pub documents: usize,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes that they stand for.
    pub bytes: u64,
    /// Nats a token, with the standard error over documents.
    pub nats_per_token: Estimate,
    /// Bits a byte.
    pub bits_per_byte: Estimate,
    /// exp of nats a token.
    pub perplexity: f64,
}

/// How much is measured at once and in all.
#[derive(Debug, Clone, Copy)]
pub struct LossSettings {
    /// Documents of each source at most, the first ones.
    pub limit: Option<u64>,
    /// Tokens of a piece at most; the model's context where left out.
    pub length: Option<usize>,
    /// Tokens of a row, or one piece.
    pub tokens_at_once: usize,
}

/// Documents on their way through the model: pieces of them fill a row, which is measured when it is full.
struct Measure<'m> {
    model: &'m SmolLm3,
    /// Bytes of each token.
    bytes: &'m [u32],
    length: usize,
    tokens_at_once: usize,
    row: Row,
    /// Which of `records` each piece of the row belongs to, and where it ends.
    pieces: Vec<(usize, usize)>,
    records: Vec<(u64, DocumentLoss)>,
}

/// Measures the documents of the named sources that are not in `log` yet. `progress` gets the number of documents done and the
/// total.
///
/// # Errors
/// A source cannot be read or has tokens of another tokenizer, a loss is no number, the log cannot be written, or
/// `progress` ends the work.
pub fn text_loss(
    model: &TextModel,
    sources: &[(String, LossSource)],
    settings: LossSettings,
    log: &mut ItemLog<DocumentLoss>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let mut total = 0;
    for (_, source) in sources {
        total += source.documents()?.min(settings.limit.unwrap_or(u64::MAX));
    }
    let bytes = token_bytes(&model.tokenizer);
    let network = model.model.valid();
    let context = network.max_positions();
    let mut measure = Measure {
        model: &network,
        bytes: &bytes,
        length: settings.length.unwrap_or(context).clamp(1, context),
        tokens_at_once: settings.tokens_at_once,
        row: Row::default(),
        pieces: Vec::new(),
        records: Vec::new(),
    };
    let mut item = 0;
    for (name, source) in sources {
        let mut document = 0;
        source.each(model, settings.limit.unwrap_or(u64::MAX), &mut |ids| {
            let record = DocumentLoss {
                source: name.clone(),
                document,
                nats: 0.0,
                tokens: 0,
                bytes: 0,
            };
            (document, item) = (document + 1, item + 1);
            if log.has(item - 1) {
                return Ok(());
            }
            let done = log.records().len() as u64;
            measure.push(item - 1, record, &ids, &mut || progress(done, total))?;
            log.add(measure.finished())
        })?;
    }
    measure.measure()?;
    log.add(std::mem::take(&mut measure.records))?;
    progress(total, total)
}

/// The losses of all records, by source in the order of their documents.
pub fn source_losses<'r>(records: impl IntoIterator<Item = &'r DocumentLoss>) -> Vec<SourceLoss> {
    let mut sources: Vec<(&str, Vec<&DocumentLoss>)> = Vec::new();
    for record in records {
        match sources.iter_mut().find(|(name, _)| *name == record.source) {
            Some((_, records)) => records.push(record),
            None => sources.push((&record.source, vec![record])),
        }
    }
    let loss = |(source, records): (&str, Vec<&DocumentLoss>)| {
        let ratio = |below: fn(&DocumentLoss) -> u64| {
            let pairs = records.iter().map(|record| (record.nats, below(record) as f64));
            Estimate::ratio(&pairs.collect::<Vec<_>>())
        };
        let nats_per_token = ratio(|record| record.tokens);
        SourceLoss {
            source: source.to_owned(),
            documents: records.len(),
            tokens: records.iter().map(|record| record.tokens).sum(),
            bytes: records.iter().map(|record| record.bytes).sum(),
            nats_per_token,
            bits_per_byte: ratio(|record| record.bytes).times(std::f64::consts::LOG2_E),
            perplexity: nats_per_token.value.exp(),
        }
    };
    sources.into_iter().map(loss).collect()
}

impl Measure<'_> {
    /// Adds a document, in pieces; calls `go_on` before each row.
    fn push(
        &mut self,
        item: u64,
        record: DocumentLoss,
        ids: &[u32],
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        self.records.push((item, record));
        let inputs = ids.split_last().map_or(ids, |(_, inputs)| inputs);
        let targets = ids.get(1..).unwrap_or_default();
        for (inputs, targets) in inputs.chunks(self.length).zip(targets.chunks(self.length)) {
            if !self.row.ids.is_empty() && self.row.ids.len() + inputs.len() > self.tokens_at_once {
                go_on()?;
                self.measure()?;
            }
            self.row.starts.push(self.row.ids.len());
            self.row.ids.extend_from_slice(inputs);
            self.row.targets.extend(targets.iter().copied().map(Some));
            self.pieces.push((self.records.len() - 1, self.row.ids.len()));
        }
        Ok(())
    }

    /// Takes the records of which nothing is waiting in the row.
    fn finished(&mut self) -> Vec<(u64, DocumentLoss)> {
        let first_waiting = self
            .pieces
            .first()
            .map_or(self.records.len(), |(record, _)| *record);
        self.pieces
            .iter_mut()
            .for_each(|(record, _)| *record -= first_waiting);
        self.records.drain(..first_waiting).collect()
    }

    /// Adds the losses of the row to its records.
    fn measure(&mut self) -> Result<()> {
        let row = std::mem::take(&mut self.row);
        if row.ids.is_empty() {
            return Ok(());
        }
        let vocab_size = self.model.head().dims()[0];
        let mut ids = row.ids.iter().chain(row.targets.iter().flatten());
        if let Some(&id) = ids.find(|id| **id as usize >= vocab_size) {
            return Err(GenerateError::Vocabulary { id, vocab_size }.into());
        }
        let device = self.model.head().device();
        let batch = MicroBatch::new(std::slice::from_ref(&row), &device).map_err(EngineError::from)?;
        let losses = token_losses(self.model, &batch);
        let mut from = 0;
        for (record, to) in self.pieces.drain(..) {
            let Some((_, record)) = self.records.get_mut(record) else {
                continue;
            };
            let losses = losses.get(from..to).unwrap_or_default();
            let nats = losses.iter().map(|loss| f64::from(*loss)).sum();
            record.nats += finite(nats, || {
                format!(
                    "the loss on document {} of {}",
                    record.document + 1,
                    record.source
                )
            })?;
            record.tokens += (to - from) as u64;
            let targets = row.targets.get(from..to).unwrap_or_default().iter().flatten();
            let of = |id: &u32| self.bytes.get(*id as usize).map_or(0, |bytes| u64::from(*bytes));
            record.bytes += targets.map(of).sum::<u64>();
            from = to;
        }
        Ok(())
    }
}

impl LossSource {
    /// How many documents there are.
    fn documents(&self) -> Result<u64> {
        match self {
            Self::Store(store) => store.documents().ok_or_else(|| {
                EvalError::Corpus(CorpusError::Store {
                    path: store.path().to_owned(),
                    problem: "it has no index, so where its documents end is not known; give a store with a \
                              .ds.index"
                        .to_owned(),
                })
            }),
            Self::Text { files, .. } => {
                let mut rows = 0;
                for (index, shard) in files.shards().iter().enumerate() {
                    rows += read::count_rows(files.open(index)?.path(), &shard.name)?;
                }
                Ok(rows)
            }
        }
    }

    /// Hands out the tokens of the first `limit` documents, each with its end of text.
    fn each(
        &self,
        model: &TextModel,
        limit: u64,
        take: &mut dyn FnMut(Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Store(store) => {
                for document in 0..self.documents()?.min(limit) {
                    let ids: Vec<u32> = store.document(document)?.iter().collect();
                    EvalError::check_vocabulary(store, &ids, model.config.vocab_size)?;
                    take(ids)?;
                }
            }
            Self::Text { files, column } => {
                let encoder = model.tokenizer.documents(SpecialTokens::Text);
                let mut left = limit;
                for (index, shard) in files.shards().iter().enumerate() {
                    let file = files.open(index)?;
                    for batch in read::open(file.path(), &shard.name, column, Position::default())? {
                        let batch = batch?;
                        for row in 0..batch.len() {
                            let text = batch.text(row).map_err(|problem| EvalError::Row {
                                place: format!("{} of `{}`", batch.place(row), shard.name),
                                problem: format!("it {}", problem.describe(column)),
                            })?;
                            let Some(text) = text else { continue };
                            if left == 0 {
                                return Ok(());
                            }
                            left -= 1;
                            take(encoder.encode(&text)?)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

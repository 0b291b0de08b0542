//! Windows of a token store as training sequences.
//!
//! Window `j` of a file is its tokens `[j(S+1), (j+1)(S+1))`: `S` inputs and, one further, `S` targets.
//! Windows do not overlap, so one token in `S + 1` is target only, as in the original (datatrove's
//! dataset). `S` is chosen on reading; one store serves every length.
//!
//! Documents inside a window are separated by the store's index or, as in the original, by the end-of-text token: a document
//! begins after each. A document cut by a window starts again at the window's start. The first token of a document is not a
//! target, since nothing predicts it; the end-of-text token is.
//!
//! Cost: one copy out of the memory map, a search in the index (or one pass over the window), and one pass against the
//! vocabulary's size, so that a damaged store is an error here and not a fault inside a kernel. [`WindowReader::read_into`]
//! reuses a [`Sequence`], so a steady loop allocates only the list of document starts.

use smollm3_corpus::{CorpusError, TokenStore};
use thiserror::Error;

/// How document starts are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// The store's index of document ends.
    Index,
    /// The token after each end-of-text token with this id starts a document.
    EndOfText(u32),
    /// Ignored: each window is one document, and every token but the first is a target.
    Ignored,
}

/// Why a window cannot be read.
#[derive(Debug, Error)]
pub enum WindowError {
    /// The store refused: past its last window, without an index, damaged.
    #[error(transparent)]
    Store(#[from] CorpusError),

    /// A sequence length of 0, or one that leaves no room for the target.
    #[error("a sequence of {sequence_length} tokens cannot be read: write a length from 1 to 2^31")]
    Length {
        /// The length as given.
        sequence_length: u64,
    },

    /// A token that the model has no embedding for.
    #[error(
        "window {window} of `{}` holds token {token}, but the model has {vocabulary}: tokenise the source \
         with the model's tokenizer", store.display()
    )]
    Vocabulary {
        /// The store.
        store: std::path::PathBuf,
        /// Window within the store.
        window: u64,
        /// The largest token of the window.
        token: u32,
        /// Number of tokens in the model's vocabulary.
        vocabulary: u32,
    },
}

/// Reads the windows of one store at one sequence length.
#[derive(Debug)]
pub struct WindowReader<S = TokenStore> {
    store: S,
    sequence_length: u64,
    vocabulary: u32,
    documents: Documents,
}

impl<S: AsRef<TokenStore>> WindowReader<S> {
    /// A reader of windows of `sequence_length + 1` tokens, all below `vocabulary`.
    ///
    /// # Errors
    /// A sequence length outside `1..=2³¹`.
    pub fn new(
        store: S,
        sequence_length: u64,
        vocabulary: u32,
        documents: Documents,
    ) -> Result<Self, WindowError> {
        if !(1..=1 << 31).contains(&sequence_length) {
            return Err(WindowError::Length { sequence_length });
        }
        Ok(Self {
            store,
            sequence_length,
            vocabulary,
            documents,
        })
    }

    /// Number of whole windows: what [`crate::SourceInfo::windows`] asks for.
    pub fn windows(&self) -> u64 {
        self.store().windows(self.sequence_length)
    }

    /// The store.
    pub fn store(&self) -> &TokenStore {
        self.store.as_ref()
    }

    /// A window as a fresh sequence.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn read(&self, window: u64) -> Result<Sequence, WindowError> {
        let mut sequence = Sequence::default();
        self.read_into(window, &mut sequence)?;
        Ok(sequence)
    }

    /// A window into an old sequence, whose memory is kept. On an error its contents are unspecified.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn read_into(&self, window: u64, sequence: &mut Sequence) -> Result<(), WindowError> {
        let stored = self.store().window(self.sequence_length, window)?;
        let Sequence { tokens, boundaries } = sequence;
        tokens.clear();
        tokens.extend(stored.tokens.iter());
        boundaries.clear();
        match self.documents {
            Documents::Index => {
                let starts = stored.document_starts()?.into_iter();
                boundaries.extend(starts.filter(|&start| start > 0).map(|start| start as u32));
            }
            Documents::EndOfText(end) => {
                let inputs = tokens.get(..self.sequence_length as usize).unwrap_or(tokens);
                push_boundaries_after(end, inputs, boundaries);
            }
            Documents::Ignored => {}
        }
        let token = tokens.iter().copied().max().unwrap_or(0);
        if token >= self.vocabulary {
            return Err(WindowError::Vocabulary {
                store: stored.file().path().to_owned(),
                window,
                token,
                vocabulary: self.vocabulary,
            });
        }
        Ok(())
    }
}

/// Appends the offset after each `end` among `inputs`.
fn push_boundaries_after(end: u32, inputs: &[u32], boundaries: &mut Vec<u32>) {
    /// Documents are hundreds of tokens long: most runs of this length contain no end, which a branchless loop detects
    /// several tokens at a time.
    const RUN: usize = 64;
    for (run, tokens) in inputs.chunks(RUN).enumerate() {
        if !tokens.iter().fold(false, |found, &token| found | (token == end)) {
            continue;
        }
        let offsets = ((run * RUN) as u32 + 1..).zip(tokens);
        boundaries.extend(
            offsets
                .filter(|(_, token)| **token == end)
                .map(|(offset, _)| offset),
        );
    }
}

/// One training sequence: `S + 1` tokens and where documents start among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    tokens: Vec<u32>,
    /// Offsets in `1..=S`, rising, at which a document starts.
    boundaries: Vec<u32>,
}

impl Sequence {
    /// All `S + 1` tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The `S` tokens the model reads.
    pub fn inputs(&self) -> &[u32] {
        self.tokens.split_last().map_or(&[], |(_, inputs)| inputs)
    }

    /// What each of the `S` positions predicts; `None` where the next token starts a document.
    pub fn targets(&self) -> Vec<Option<u32>> {
        let mut targets: Vec<Option<u32>> = self.tokens.iter().skip(1).copied().map(Some).collect();
        for &boundary in &self.boundaries {
            if let Some(target) = targets.get_mut(boundary as usize - 1) {
                *target = None;
            }
        }
        targets
    }

    /// Where documents start among the inputs: rising, the first 0.
    pub fn document_starts(&self) -> Vec<usize> {
        let inner = self.boundaries.iter().map(|&boundary| boundary as usize);
        let starts = std::iter::once(0).chain(inner);
        starts.filter(|&start| start < self.inputs().len()).collect()
    }
}

//! Tokenised conversations on disk: a token store with one document per conversation, and a mask of one byte per token
//! (whether it is learned).
//!
//! Both are datatrove's formats (`.ds` and `.ds.loss`) and are memory-mapped, so that the data may exceed memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use smollm3_corpus::{StoreWriter, TokenStore};
use smollm3_files::atomic_file::AtomicFile;
use smollm3_files::io;

use crate::document::Document;
use crate::error::{ConversationsError, Result};

const TOKENS: &str = "conversations.ds";
const MASK: &str = "conversations.ds.loss";

/// Writes a store. One that is open keeps its files: new ones replace them.
pub struct ConversationWriter {
    tokens: StoreWriter,
    mask: AtomicFile,
}

impl ConversationWriter {
    /// Creates a store in `folder`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(folder: &Path, tokenizer: &str, vocab_size: u64) -> Result<Self> {
        Ok(Self {
            tokens: StoreWriter::create(folder.join(TOKENS), tokenizer, vocab_size)?,
            mask: AtomicFile::create(&folder.join(MASK))?,
        })
    }

    /// Appends a conversation.
    ///
    /// # Errors
    /// The disk is full.
    pub fn push(&mut self, ids: &[u32], learned: &[bool]) -> Result<()> {
        self.tokens.push_document(ids)?;
        let bytes: Vec<u8> = learned.iter().map(|learned| u8::from(*learned)).collect();
        Ok(self.mask.write(&bytes)?)
    }

    /// Conversations so far.
    pub fn conversations(&self) -> u64 {
        self.tokens.documents()
    }

    /// Syncs everything.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<()> {
        self.mask.commit()?;
        Ok(self.tokens.finish()?)
    }
}

/// An opened store.
#[derive(Debug)]
pub struct ConversationStore {
    tokens: TokenStore,
    /// `None` without tokens, as an empty file cannot be mapped.
    mask: Option<Mmap>,
    ends: Vec<u64>,
}

impl ConversationStore {
    /// Opens the store in `folder`.
    ///
    /// # Errors
    /// It is not there or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let tokens = TokenStore::open(folder.join(TOKENS))?;
        let path = folder.join(MASK);
        let file = File::open(&path).map_err(io("open", &path))?;
        let length = file.metadata().map_err(io("open", &path))?.len();
        let expected = tokens.len_tokens();
        if length != expected {
            return Err(ConversationsError::File {
                path,
                problem: format!("{length} bytes for {expected} tokens; remove the folder to tokenise again"),
            });
        }
        // SAFETY: a finished store is not written to; another replaces its files.
        let map = || unsafe { Mmap::map(&file) }.map_err(io("map", &path));
        let mask = (length > 0).then(map).transpose()?;
        let mut ends = Vec::new();
        let mut end = 0;
        for document in 0..tokens.documents().unwrap_or(0) {
            end += tokens.document(document)?.len() as u64;
            ends.push(end);
        }
        Ok(Self { tokens, mask, ends })
    }

    /// Conversations.
    pub fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens of conversation `index`.
    pub fn length(&self, index: u64) -> u64 {
        let end = |index: u64| self.ends.get(index as usize).copied().unwrap_or(0);
        end(index) - index.checked_sub(1).map_or(0, end)
    }

    /// The tokens of conversation `index` and their mask.
    ///
    /// # Errors
    /// There is no such conversation.
    pub fn conversation(&self, index: u64) -> Result<Document> {
        let ids = self.tokens.document(index)?.to_vec();
        let mask = self.mask.as_deref().unwrap_or_default();
        let end = self.ends.get(index as usize).copied().unwrap_or(0) as usize;
        let learned = mask.get(end - ids.len()..end).unwrap_or_default();
        let learned = learned.iter().map(|learned| *learned != 0).collect();
        Ok(Document { ids, learned })
    }

    /// The number of learned tokens among `tokens` of conversation `index`, from `start`. The first is never learned, as
    /// nothing predicts it.
    pub fn learned(&self, index: u64, start: u64, tokens: u64) -> u64 {
        let mask = self.mask.as_deref().unwrap_or_default();
        let begin = self.ends.get(index as usize).copied().unwrap_or(0) - self.length(index) + start;
        let part = mask.get((begin + 1).min(begin + tokens) as usize..(begin + tokens) as usize);
        part.unwrap_or_default()
            .iter()
            .map(|learned| u64::from(*learned))
            .sum()
    }
}

//! Writing token files: streamed to disk, complete or absent.
//!
//! Tokens and document ends go to temporary files as they come, so memory does not grow with the file.
//! `finish` renames the index first and the `.ds` last: a folder never shows a `.ds` without its index.

use std::path::{Path, PathBuf};

use smollm3_files::atomic_file::AtomicFile;

use super::fingerprint;
use super::format::{Metadata, TokenWidth, beside};
use crate::error::{CorpusError, Result};

/// Bytes of tokens hashed and written at a time; hashing is fastest on long runs.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes one `.ds` file with its index, metadata and fingerprint.
#[derive(Debug)]
pub struct StoreWriter {
    path: PathBuf,
    metadata: Metadata,
    documents: u64,
    tokens: AtomicFile,
    index: AtomicFile,
    tokens_hash: blake3::Hasher,
    index_hash: blake3::Hasher,
    buffer: Vec<u8>,
}

impl StoreWriter {
    /// Starts `path` (which must end in `.ds`) for a tokenizer of `vocab_size` entries, whose name goes
    /// into the metadata. The width follows the vocabulary.
    ///
    /// # Errors
    /// A path without `.ds`, a name with a line break, or a folder that cannot be written.
    pub fn create(path: impl AsRef<Path>, tokenizer: &str, vocab_size: u64) -> Result<Self> {
        let path = path.as_ref();
        if path.extension().is_none_or(|extension| extension != "ds") {
            let problem = "the name of a token file must end in `.ds`";
            return Err(CorpusError::store(path, problem));
        }
        if tokenizer.contains(['\n', '\r']) {
            let problem = format!("must be one line to fit the metadata, got {tokenizer:?}");
            return Err(CorpusError::argument("tokenizer", problem));
        }
        let width = TokenWidth::for_vocab(vocab_size);
        Ok(StoreWriter {
            path: path.to_owned(),
            metadata: Metadata {
                tokenizer: tokenizer.to_owned(),
                width,
                tokens: 0,
            },
            documents: 0,
            tokens: AtomicFile::create(path)?,
            index: AtomicFile::create(&beside(path, "index"))?,
            tokens_hash: blake3::Hasher::new(),
            index_hash: blake3::Hasher::new(),
            buffer: Vec::new(),
        })
    }

    /// Appends one document; its end-of-text is the caller's to add.
    ///
    /// # Errors
    /// A token past the width of the file, or a full disk.
    pub fn push_document(&mut self, tokens: &[u32]) -> Result<()> {
        let wide = tokens.iter().find(|token| u16::try_from(**token).is_err());
        if let (TokenWidth::U16, Some(token)) = (self.metadata.width, wide) {
            let problem = format!("token {token} lies past its vocabulary of at most 65536 entries");
            return Err(CorpusError::tokenizer(&self.metadata.tokenizer, problem));
        }
        let start = self.buffer.len();
        let width = self.metadata.width;
        self.buffer
            .resize(start + width.bytes() as usize * tokens.len(), 0);
        let buffer = self.buffer.get_mut(start..).unwrap_or_default();
        match width {
            TokenWidth::U32 => {
                for (bytes, token) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(tokens) {
                    *bytes = token.to_le_bytes();
                }
            }
            TokenWidth::U16 => {
                for (bytes, token) in buffer.as_chunks_mut::<2>().0.iter_mut().zip(tokens) {
                    *bytes = (*token as u16).to_le_bytes();
                }
            }
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        self.metadata.tokens += tokens.len() as u64;
        let end = self.metadata.tokens.to_le_bytes();
        self.index_hash.update(&end);
        self.index.write(&end)?;
        self.documents += 1;
        Ok(())
    }

    /// Hashes and writes what is in the buffer.
    fn flush(&mut self) -> Result<()> {
        self.tokens_hash.update(&self.buffer);
        self.tokens.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Syncs all files and renames them into place.
    ///
    /// # Errors
    /// A full disk; nothing is left then.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let mut metadata = AtomicFile::create(&beside(&self.path, "metadata"))?;
        metadata.write(self.metadata.render().as_bytes())?;
        // All contents first, then all names: a disk that fills up now leaves none of the three.
        for file in [&mut metadata, &mut self.index, &mut self.tokens] {
            file.sync()?;
        }
        self.index.commit()?;
        metadata.commit()?;
        self.tokens.commit()?;
        let (tokens_hash, index_hash) = (self.tokens_hash.finalize(), self.index_hash.finalize());
        fingerprint::record(&self.path, tokens_hash, index_hash)
    }
}

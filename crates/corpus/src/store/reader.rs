//! Opening and reading token stores.
//!
//! Opening checks what can be checked without reading the contents: sizes, the last entry of the index, the metadata.
//! So opening terabytes takes milliseconds on every rank. [`TokenFile::verify`] reads the whole index, as computing the
//! fingerprint does once; every read of the index checks the entries it uses, so damage is never silently followed.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use smollm3_files::{io, plain_files, read_if_present};

use super::format::{Metadata, TokenWidth, beside};
use super::tokens::Tokens;
use crate::error::{CorpusError, Result};

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// The token width, for files without metadata.
    pub width: Option<TokenWidth>,
    /// Does not look for `.ds.index`: the original's window-shuffled files have none, and their documents start after
    /// each end-of-text token instead.
    pub ignore_index: bool,
}

impl OpenOptions {
    /// Opens one `.ds` file, or every `.ds` file of a folder (not of its subfolders) sorted by name.
    ///
    /// # Errors
    /// A file is missing, empty or truncated, or contradicts its index or metadata; the message names it.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<TokenStore> {
        let path = path.as_ref();
        let kind = fs::metadata(path).map_err(io("open", path))?;
        let names = match kind.is_dir() {
            true => token_files_in(path)?,
            false => vec![path.to_owned()],
        };
        if names.is_empty() {
            let problem = "the folder holds no `.ds` file; tokenise a source into it";
            return Err(CorpusError::store(path, problem));
        }
        let files = names
            .iter()
            .map(|name| TokenFile::open(name, self))
            .collect::<Result<Vec<_>>>()?;
        if let Some(other) = files.iter().find(|file| file.width != files[0].width) {
            let problem = format!(
                "`{}` has {} bytes a token, `{}` has {}; keep one width in a folder",
                files[0].path.display(),
                files[0].width.bytes(),
                other.path.display(),
                other.width.bytes()
            );
            return Err(CorpusError::store(path, problem));
        }
        let store = TokenStore {
            path: path.to_owned(),
            files,
        };
        if store.len_tokens() == 0 {
            let problem = "it holds no token; check the source it was made from";
            return Err(CorpusError::store(path, problem));
        }
        Ok(store)
    }
}

/// The `.ds` files of a folder that are not hidden, sorted.
fn token_files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = plain_files(folder)?;
    files.retain(|name| name.ends_with(".ds") && !name.starts_with('.'));
    Ok(files.into_iter().map(|name| folder.join(name)).collect())
}

/// One `.ds` file with its index.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    width: TokenWidth,
    tokenizer: Option<String>,
    tokens: Mapped,
    /// `None` if the index is ignored.
    index: Option<Mapped>,
    len_tokens: u64,
}

/// The contents of a file; `None` for an empty one, which cannot be mapped.
#[derive(Debug)]
struct Mapped(Option<Mmap>);

impl Mapped {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io("open", path))?;
        if file.metadata().map_err(io("open", path))?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the map is read-only, and stores are written under another name and renamed, so a complete file is
        // never changed in place by this program. Truncation by another program while we read would end the process, as
        // it does for every reader of mapped files.
        let map = unsafe { Mmap::map(&file) }.map_err(io("map", path))?;
        Ok(Self(Some(map)))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl TokenFile {
    fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let damaged = |problem: String| Err(CorpusError::damaged(path, problem));
        let tokens = Mapped::open(path)?;
        let bytes = tokens.bytes().len() as u64;
        let (mut index, mut last_end) = (None, None);
        if !options.ignore_index {
            let name = beside(path, "index");
            if !name.exists() {
                let problem = format!("`{}` is missing; put it next to the tokens", name.display());
                return Err(CorpusError::store(path, problem));
            }
            let map = Mapped::open(&name)?;
            let (ends, rest) = map.bytes().as_chunks::<8>();
            if !rest.is_empty() {
                return damaged(format!(
                    "its index has {} bytes, not a multiple of 8",
                    map.bytes().len()
                ));
            }
            last_end = Some(ends.last().map_or(0, |end| u64::from_le_bytes(*end)));
            index = Some(map);
        }

        let metadata = read_if_present(&beside(path, "metadata"))?;
        let metadata = metadata.map(|text| Metadata::parse(path, &text)).transpose()?;
        let given = options.width.or(metadata.as_ref().map(|metadata| metadata.width));
        let width = given
            .or_else(|| width_from_sizes(bytes, last_end))
            .ok_or_else(|| {
                let problem = "the token width is unknown: `.ds.metadata` is missing; give it (2 or 4 bytes)";
                CorpusError::store(path, problem)
            })?;

        if !bytes.is_multiple_of(width.bytes()) {
            return damaged(format!(
                "{bytes} bytes are not a multiple of {} bytes a token",
                width.bytes()
            ));
        }
        let len_tokens = bytes / width.bytes();
        if let Some(end) = last_end.filter(|end| *end != len_tokens) {
            return damaged(format!("it holds {len_tokens} tokens, its index ends at {end}"));
        }
        if let Some(other) = metadata.as_ref().filter(|metadata| metadata.tokens != len_tokens) {
            return damaged(format!(
                "it holds {len_tokens} tokens, its metadata says {}",
                other.tokens
            ));
        }
        Ok(TokenFile {
            path: path.to_owned(),
            width,
            tokenizer: metadata.map(|metadata| metadata.tokenizer),
            tokens,
            index,
            len_tokens,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokenizer's name in the metadata, if there is one.
    pub fn tokenizer(&self) -> Option<&str> {
        self.tokenizer.as_deref()
    }

    /// Number of tokens.
    pub fn len_tokens(&self) -> u64 {
        self.len_tokens
    }

    /// Number of documents; `None` without an index.
    pub fn documents(&self) -> Option<u64> {
        self.ends().map(|ends| ends.len() as u64)
    }

    /// Number of windows of `sequence_length + 1` tokens.
    pub fn windows(&self, sequence_length: u64) -> u64 {
        self.len_tokens / sequence_length.saturating_add(1)
    }

    /// The tokens of `range`, counted from the start of this file.
    ///
    /// # Errors
    /// The range ends past the file.
    pub fn tokens(&self, range: Range<u64>) -> Result<Tokens<'_>> {
        if range.start > range.end || range.end > self.len_tokens {
            let available = format!("{} tokens", self.len_tokens);
            let what = format!("tokens {}..{}", range.start, range.end);
            return Err(CorpusError::beyond(&self.path, what, available));
        }
        let width = self.width.bytes();
        let bytes = self
            .token_bytes()
            .get((range.start * width) as usize..(range.end * width) as usize);
        Ok(Tokens::new(bytes.unwrap_or_default(), self.width))
    }

    /// The tokens of document `document`, its end-of-text included.
    ///
    /// # Errors
    /// There is no index, or it is damaged, or `document` is past the end.
    pub fn document(&self, document: u64) -> Result<Tokens<'_>> {
        let ends = self.ends().ok_or_else(|| self.no_index())?;
        let end_of = |document: u64| ends.get(document as usize).map(|end| u64::from_le_bytes(*end));
        let end = end_of(document).ok_or_else(|| {
            let available = format!("{} documents", ends.len());
            CorpusError::beyond(&self.path, format!("document {document}"), available)
        })?;
        let start = document.checked_sub(1).and_then(end_of).unwrap_or(0);
        if start > end || end > self.len_tokens {
            return Err(self.damaged_index());
        }
        self.tokens(start..end)
    }

    /// Where documents start inside `range`, relative to its start, in ascending order; O(log documents).
    ///
    /// The start of the range is listed only if a document starts there.
    ///
    /// # Errors
    /// Without an index, or if the entries used are not ascending.
    pub fn document_starts_in(&self, range: Range<u64>) -> Result<Vec<u64>> {
        let ends = self.ends().ok_or_else(|| self.no_index())?;
        let mut starts = Vec::new();
        if range.start == 0 && range.end > 0 && self.len_tokens > 0 {
            starts.push(0);
        }
        // A document starts at the end of its predecessor; the last end starts none.
        let first = ends.partition_point(|end| u64::from_le_bytes(*end) < range.start.max(1));
        let mut previous = 0;
        for end in ends.get(first..).unwrap_or_default() {
            let end = u64::from_le_bytes(*end);
            if end < previous || end > self.len_tokens || end < range.start {
                return Err(self.damaged_index());
            }
            if end >= range.end || end == self.len_tokens {
                break;
            }
            if end > previous {
                starts.push(end - range.start);
            }
            previous = end;
        }
        Ok(starts)
    }

    /// Reads the whole index (8 bytes a document) and checks that it is ascending.
    ///
    /// # Errors
    /// Names the first document that ends before its predecessor.
    pub fn verify(&self) -> Result<()> {
        let ends = self.ends().unwrap_or_default();
        let falls = |pair: &[[u8; 8]]| u64::from_le_bytes(pair[0]) > u64::from_le_bytes(pair[1]);
        match ends.par_windows(2).position_first(falls) {
            None => Ok(()),
            Some(before) => {
                let problem = format!("its index descends at document {}", before + 1);
                Err(CorpusError::damaged(&self.path, problem))
            }
        }
    }

    fn ends(&self) -> Option<&[[u8; 8]]> {
        Some(self.index.as_ref()?.bytes().as_chunks::<8>().0)
    }

    pub(super) fn token_bytes(&self) -> &[u8] {
        self.tokens.bytes()
    }

    pub(super) fn index_bytes(&self) -> &[u8] {
        self.index.as_ref().map_or(&[], Mapped::bytes)
    }

    fn damaged_index(&self) -> CorpusError {
        CorpusError::damaged(&self.path, "its index is not ascending or ends past the file")
    }

    fn no_index(&self) -> CorpusError {
        let problem = "it was opened without its index, so document ends are unknown";
        CorpusError::store(&self.path, problem)
    }
}

/// The width without metadata: the index ends at the number of tokens.
fn width_from_sizes(bytes: u64, last_end: Option<u64>) -> Option<TokenWidth> {
    let tokens = last_end.filter(|end| *end > 0)?;
    if !bytes.is_multiple_of(tokens) {
        return None;
    }
    TokenWidth::from_bytes(bytes / tokens)
}

/// One or more `.ds` files read as one.
#[derive(Debug)]
pub struct TokenStore {
    path: PathBuf,
    files: Vec<TokenFile>,
}

/// One training sample as it lies in the store.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    file: &'a TokenFile,
    start: u64,
    /// `sequence_length + 1` tokens: inputs are all but the last, labels all but the first.
    pub tokens: Tokens<'a>,
}

impl<'a> Window<'a> {
    /// Offsets inside the window at which documents start, from the index.
    ///
    /// # Errors
    /// As [`TokenFile::document_starts_in`].
    pub fn document_starts(&self) -> Result<Vec<u64>> {
        self.file
            .document_starts_in(self.start..self.start + self.tokens.len() as u64)
    }

    /// The file the window lies in.
    pub fn file(&self) -> &'a TokenFile {
        self.file
    }
}

impl AsRef<TokenStore> for TokenStore {
    fn as_ref(&self) -> &TokenStore {
        self
    }
}

impl TokenStore {
    /// Opens a `.ds` file or a folder of them with the default [`OpenOptions`].
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::default().open(path)
    }

    /// The file or folder it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, in order.
    pub fn files(&self) -> &[TokenFile] {
        &self.files
    }

    /// Bytes a token on disk, the same in all files.
    pub fn width(&self) -> TokenWidth {
        self.files.first().map_or(TokenWidth::U32, |file| file.width)
    }

    /// Number of tokens in all files.
    pub fn len_tokens(&self) -> u64 {
        self.files.iter().map(TokenFile::len_tokens).sum()
    }

    /// Number of documents in all files; `None` when opened without the index.
    pub fn documents(&self) -> Option<u64> {
        self.files.iter().map(TokenFile::documents).sum()
    }

    /// Number of windows of `sequence_length + 1` tokens, counted file by file.
    pub fn windows(&self, sequence_length: u64) -> u64 {
        self.files.iter().map(|file| file.windows(sequence_length)).sum()
    }

    /// Window `window`: tokens `[j(S+1), (j+1)(S+1))` of its file, with j counted from the file's first.
    ///
    /// # Errors
    /// Past the last window.
    pub fn window(&self, sequence_length: u64, window: u64) -> Result<Window<'_>> {
        let span = sequence_length.saturating_add(1);
        let mut in_file = window;
        for file in &self.files {
            let windows = file.windows(sequence_length);
            if in_file < windows {
                let start = in_file * span;
                let tokens = file.tokens(start..start + span)?;
                return Ok(Window { file, start, tokens });
            }
            in_file -= windows;
        }
        let what = format!("window {window} of {sequence_length} + 1 tokens");
        let available = format!("{} windows", self.windows(sequence_length));
        Err(CorpusError::beyond(&self.path, what, available))
    }

    /// The tokens of document `document`, counted over all files.
    ///
    /// # Errors
    /// As [`TokenFile::document`].
    pub fn document(&self, document: u64) -> Result<Tokens<'_>> {
        let mut in_file = document;
        for file in &self.files {
            let documents = file.documents().ok_or_else(|| file.no_index())?;
            if in_file < documents {
                return file.document(in_file);
            }
            in_file -= documents;
        }
        let available = format!("{} documents", document - in_file);
        Err(CorpusError::beyond(
            &self.path,
            format!("document {document}"),
            available,
        ))
    }
}

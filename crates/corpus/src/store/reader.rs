//! Opening and reading token stores.
//!
//! Opening checks what can be checked without reading the contents: sizes, the last entry of the index,
//! the metadata. [`TokenFile::verify`] reads the whole index (the fingerprint does so too, once, and
//! remembers it); every read of the index checks the entries it uses, so a damaged one is never
//! silently followed. This keeps opening a store of terabytes a matter of milliseconds on every rank.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::format::{Metadata, TokenWidth, beside};
use super::tokens::Tokens;
use crate::error::{CorpusError, Result};

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    width: Option<TokenWidth>,
    ignore_index: bool,
}

impl OpenOptions {
    /// Takes the token width from here instead of the metadata, for files that came without it.
    pub fn width(mut self, width: TokenWidth) -> Self {
        self.width = Some(width);
        self
    }

    /// Does not look for `.ds.index`: the original's window-shuffled files have none, and their
    /// document starts come from the end-of-text token instead.
    pub fn without_index(mut self) -> Self {
        self.ignore_index = true;
        self
    }

    pub(super) fn given_width(&self) -> Option<TokenWidth> {
        self.width
    }

    pub(super) fn ignores_index(&self) -> bool {
        self.ignore_index
    }

    /// Opens one `.ds` file, or every `.ds` file of a folder (not of its subfolders) sorted by name.
    ///
    /// # Errors
    /// Names the file where one is missing, empty, truncated, or disagrees with its index or metadata.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<TokenStore> {
        let path = path.as_ref();
        let kind = fs::metadata(path).map_err(CorpusError::io("open", path))?;
        let names = if kind.is_dir() {
            token_files_in(path)?
        } else {
            vec![path.to_owned()]
        };
        if names.is_empty() {
            return Err(CorpusError::store(
                path,
                "the folder holds no `.ds` file; tokenise a source into it",
            ));
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
            return Err(CorpusError::store(
                path,
                "it holds no token; check the source it was made from",
            ));
        }
        Ok(store)
    }
}

fn token_files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(CorpusError::io("list", folder))? {
        let name = entry.map_err(CorpusError::io("list", folder))?.path();
        let hidden = name
            .file_name()
            .is_some_and(|file| file.as_encoded_bytes().starts_with(b"."));
        if name.extension().is_some_and(|extension| extension == "ds") && name.is_file() && !hidden {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// One `.ds` file with its index.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    width: TokenWidth,
    tokenizer: Option<String>,
    tokens: Option<Mmap>,
    index: Index,
    len_tokens: u64,
}

/// The index of a file: absent on request, otherwise mapped (`None` inside: zero documents).
#[derive(Debug)]
enum Index {
    Ignored,
    Ends(Option<Mmap>),
}

impl TokenFile {
    fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let tokens = map(path)?;
        let bytes = tokens.as_ref().map_or(0, |map| map.len() as u64);

        let index = if options.ignore_index {
            Index::Ignored
        } else {
            let name = beside(path, "index");
            if !name.exists() {
                let problem = format!(
                    "`{}` is missing; put it beside the tokens, or take document starts from the \
                     end-of-text token (documents = \"eos\")",
                    name.display()
                );
                return Err(CorpusError::store(path, problem));
            }
            Index::Ends(map(&name)?)
        };
        let last_end = match &index {
            Index::Ignored => None,
            Index::Ends(None) => Some(0),
            Index::Ends(Some(map)) => {
                let (ends, rest) = map.as_chunks::<8>();
                if !rest.is_empty() {
                    let problem = format!("its index has {} bytes, not a multiple of 8", map.len());
                    return Err(CorpusError::damaged(path, problem));
                }
                Some(ends.last().map_or(0, |end| u64::from_le_bytes(*end)))
            }
        };

        let name = beside(path, "metadata");
        let metadata = if name.exists() {
            let text = fs::read_to_string(&name).map_err(CorpusError::io("read", &name))?;
            Some(Metadata::parse(path, &text)?)
        } else {
            None
        };
        let told = options.width.or(metadata.as_ref().map(|metadata| metadata.width));
        let width = told
            .or_else(|| width_from_sizes(bytes, last_end))
            .ok_or_else(|| {
                let problem =
                    "nothing tells the token width: `.ds.metadata` is missing; give it (2 or 4 bytes)";
                CorpusError::store(path, problem)
            })?;

        if !bytes.is_multiple_of(width.bytes()) {
            let problem = format!(
                "{bytes} bytes are not a multiple of {} bytes a token",
                width.bytes()
            );
            return Err(CorpusError::damaged(path, problem));
        }
        let len_tokens = bytes / width.bytes();
        if let Some(end) = last_end.filter(|end| *end != len_tokens) {
            let problem = format!("it holds {len_tokens} tokens, its index ends at {end}");
            return Err(CorpusError::damaged(path, problem));
        }
        if let Some(told) = metadata.as_ref().filter(|metadata| metadata.tokens != len_tokens) {
            let problem = format!("it holds {len_tokens} tokens, its metadata says {}", told.tokens);
            return Err(CorpusError::damaged(path, problem));
        }
        let tokenizer = metadata.map(|metadata| metadata.tokenizer);
        Ok(TokenFile {
            path: path.to_owned(),
            width,
            tokenizer,
            tokens,
            index,
            len_tokens,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokenizer's name in the metadata, where there is one.
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
    /// Where the range ends past the file.
    pub fn tokens(&self, range: Range<u64>) -> Result<Tokens<'_>> {
        if range.start > range.end || range.end > self.len_tokens {
            return Err(CorpusError::OutOfRange {
                path: self.path.clone(),
                what: format!("tokens {}..{}", range.start, range.end),
                available: format!("{} tokens", self.len_tokens),
            });
        }
        let all: &[u8] = self.tokens.as_deref().unwrap_or_default();
        let width = self.width.bytes();
        let bytes = all.get((range.start * width) as usize..(range.end * width) as usize);
        Ok(Tokens::new(bytes.unwrap_or_default(), self.width))
    }

    /// The tokens of document `document`, its end-of-text included.
    ///
    /// # Errors
    /// Without an index, past the last document, or where the index is damaged.
    pub fn document(&self, document: u64) -> Result<Tokens<'_>> {
        let ends = self.ends().ok_or_else(|| self.no_index())?;
        let end = ends
            .get(document as usize)
            .ok_or_else(|| CorpusError::OutOfRange {
                path: self.path.clone(),
                what: format!("document {document}"),
                available: format!("{} documents", ends.len()),
            })?;
        let start = match document.checked_sub(1) {
            None => 0,
            Some(before) => ends
                .get(before as usize)
                .map_or(0, |end| u64::from_le_bytes(*end)),
        };
        let end = u64::from_le_bytes(*end);
        if start > end || end > self.len_tokens {
            return Err(self.damaged_index());
        }
        self.tokens(start..end)
    }

    /// Where documents start inside `range`, relative to its start, rising; O(log documents).
    ///
    /// The start of the range itself is listed only if a document starts there.
    ///
    /// # Errors
    /// Without an index, or where the entries used are not rising.
    pub fn document_starts_in(&self, range: Range<u64>) -> Result<Vec<u64>> {
        let ends = self.ends().ok_or_else(|| self.no_index())?;
        let mut starts = Vec::new();
        if range.start == 0 && range.end > 0 && self.len_tokens > 0 {
            starts.push(0);
        }
        // A document starts where the one before it ends; the last end starts nothing.
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

    /// Reads the whole index (8 bytes a document) and checks that it never falls.
    ///
    /// # Errors
    /// Names the first document whose end lies before the one before it.
    pub fn verify(&self) -> Result<()> {
        let Some(ends) = self.ends() else { return Ok(()) };
        let falls = |pair: &[[u8; 8]]| u64::from_le_bytes(pair[0]) > u64::from_le_bytes(pair[1]);
        match ends.par_windows(2).position_first(falls) {
            None => Ok(()),
            Some(before) => {
                let problem = format!("its index falls at document {}", before + 1);
                Err(CorpusError::damaged(&self.path, problem))
            }
        }
    }

    fn ends(&self) -> Option<&[[u8; 8]]> {
        match &self.index {
            Index::Ignored => None,
            Index::Ends(map) => Some(map.as_deref().unwrap_or_default().as_chunks::<8>().0),
        }
    }

    pub(super) fn token_bytes(&self) -> &[u8] {
        self.tokens.as_deref().unwrap_or_default()
    }

    pub(super) fn index_bytes(&self) -> &[u8] {
        match &self.index {
            Index::Ignored | Index::Ends(None) => &[],
            Index::Ends(Some(map)) => map,
        }
    }

    fn damaged_index(&self) -> CorpusError {
        CorpusError::damaged(&self.path, "its index does not rise inside the file")
    }

    fn no_index(&self) -> CorpusError {
        CorpusError::store(
            &self.path,
            "it was opened without its index, so document ends are not known",
        )
    }
}

/// Without metadata the index still tells the width: it ends at the number of tokens.
fn width_from_sizes(bytes: u64, last_end: Option<u64>) -> Option<TokenWidth> {
    let tokens = last_end.filter(|end| *end > 0)?;
    if !bytes.is_multiple_of(tokens) {
        return None;
    }
    TokenWidth::from_bytes(bytes / tokens)
}

/// Maps a file; an empty one cannot be mapped and is `None`.
fn map(path: &Path) -> Result<Option<Mmap>> {
    let file = File::open(path).map_err(CorpusError::io("open", path))?;
    if file.metadata().map_err(CorpusError::io("open", path))?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the map is read-only, and stores are written under another name and renamed, so a
    // complete file is never changed in place by this program. Truncation by others while we read
    // would end the process, as it does for every reader of mapped files.
    let map = unsafe { Mmap::map(&file) }.map_err(CorpusError::io("map", path))?;
    Ok(Some(map))
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

    /// The window's first token, counted from the start of its file.
    pub fn start(&self) -> u64 {
        self.start
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

    /// To say first how to open it.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
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
        Err(CorpusError::OutOfRange {
            path: self.path.clone(),
            what: format!("window {window} of {sequence_length} + 1 tokens"),
            available: format!("{} windows", self.windows(sequence_length)),
        })
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
        Err(CorpusError::OutOfRange {
            path: self.path.clone(),
            what: format!("document {document}"),
            available: format!("{} documents", document - in_file),
        })
    }
}

//! The token store in datatrove's format, so the original's files and ours are interchangeable.
//!
//! One piece `X` of a source is three files:
//!
//! | file | contents |
//! | --- | --- |
//! | `X.ds` | the tokens, little-endian `u16` or `u32`, no header |
//! | `X.ds.index` | one little-endian `u64` per document: its end, in tokens, including its end-of-text |
//! | `X.ds.metadata` | text: `tokenizer\|bytes per token`, the number of tokens, the same for people |
//!
//! (Source: datatrove, `pipeline/tokens/tokenizer.py`, class `TokenizedFile`.) We add `X.ds.blake3`, the
//! fingerprint of the first two, which other readers ignore.
//!
//! A folder of `.ds` files, sorted by name, is one store. A window of `S + 1` tokens never straddles two
//! files, as in the original, so each file drops a tail of at most `S` tokens.
//!
//! Files are memory-mapped: opening costs a few system calls whatever the size, and all processes of a machine share the
//! page cache. With the document ends (8 bytes a document), one tokenised corpus serves every sequence length and every
//! masking of documents.

mod fingerprint;
mod format;
mod reader;
mod streamed;
mod tokens;
mod writer;

pub use fingerprint::Fingerprint;
pub use format::{TokenWidth, human_count};
pub use reader::{OpenOptions, TokenFile, TokenStore, Window};
pub use streamed::{StreamedShard, StreamedStore};
pub use tokens::Tokens;
pub use writer::StoreWriter;

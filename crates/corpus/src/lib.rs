//! Text in, token stores out.
//!
//! ```text
//! text sources ── tokenizer ── tokenize ── token store (.ds, .ds.index, .ds.metadata) ── mixer
//! ```
//!
//! * [`text`]: documents that need no download: the Markdown and Rust files of the crates in `Cargo.lock`, and a seeded
//!   generator of arithmetic with worked steps.
//! * [`read`]: Parquet and JSON lines, plain or compressed; [`shards`]: the files of a source, local or, through [`remote`]
//!   and [`cache`], in object stores, behind URLs and on the Hub; [`mod@fetch`] downloads them.
//! * [`tokenizer`]: byte-level BPE, trained or loaded.
//! * [`tokenize`]: documents to token stores on all cores, the same bytes for any number of threads.
//! * [`store`]: the on-disk format, which is datatrove's, so files are interchangeable.
//!
//! This crate knows nothing of devices, models or recipes: plain arguments in, files out.

pub mod bench;
pub mod cache;
mod contained;
mod encoder;
pub mod error;
mod fast_encoder;
pub mod fetch;
mod glob;
pub mod read;
pub mod remote;
mod shard;
pub mod shards;
mod special_tokens;
pub mod store;
pub mod text;
mod text_token;
pub mod tokenize;
pub mod tokenizer;

pub use error::{CorpusError, Result};
pub use fast_encoder::byte_alphabet;
pub use store::{StoreWriter, TokenStore};
pub use text_token::TextToken;
pub use tokenizer::{Numbers, Tokenizer};

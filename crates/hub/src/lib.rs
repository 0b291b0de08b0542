//! Models on the Hugging Face Hub, as folders on this machine; folders of this machine, as models there.
//!
//! ```text
//! owner/name@revision ─ api ─ commit, names ─ wanted ─ blob ─ ranges, hash ─ cache ─ snapshots/COMMIT
//!                                                                              ▲
//!                              recipe ─ hub_folders, hub.json ─────────────────┘
//! ```
//!
//! The cache is the one of Python's `huggingface_hub`, file for file: what one has fetched, the other finds. Fetched is
//! what this project reads: configuration, tokenizer, templates, safetensors. All files are of the commit that the
//! revision stood for at the beginning; a commit that is complete in the cache costs no request.
//!
//! The other way: [`checkpoint_files`] are those of a folder that make a model, [`Hub::upload`] brings them to a branch as one
//! commit.
//!
//! Why not the `hf-hub` crate: docs/decisions.md.

mod adapter;
mod api;
mod blob;
mod cache;
mod contents;
mod error;
mod hub;
mod place;
mod recipe;
mod refusal;
mod upload;
mod wanted;

pub use adapter::{AdapterBase, adapter_base};
pub use cache::{Cache, Origin};
pub use contents::checkpoint_files;
pub use error::{HubError, Result};
pub use hub::{Hub, Report, Snapshot};
pub use place::{fetched, folder_or_hub};
pub use recipe::{Depth, Located, PINS, Pins, commits_of, locate, read_pins, write_pins};
pub use smollm3_corpus::fetch::FetchProgress;
pub use upload::{Content, Upload, UploadFile, UploadProgress, UploadReport, UploadStep, Uploaded};
pub use wanted::Wanted;

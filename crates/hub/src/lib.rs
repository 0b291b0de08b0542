//! Downloads models from the Hugging Face Hub, and uploads checkpoints to it.
//!
//! ```text
//! owner/name@revision ─ api ─ commit, names ─ wanted ─ blob ─ ranges, hash ─ cache ─ snapshots/COMMIT
//!                                                                              ▲
//!                              recipe ─ hub_folders, hub.json ─────────────────┘
//! ```
//!
//! The cache has the layout of Python's `huggingface_hub`: each finds what the other has downloaded. Only what this project
//! reads is downloaded: configuration, tokenizer, templates, safetensors. All files are from the commit of the revision at
//! the start; a commit that is complete in the cache costs no request.
//!
//! Uploads: [`checkpoint_files`] lists the files of a folder that make a model, [`Hub::upload`] commits them to a branch.
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
pub use contents::{checkpoint_above, checkpoint_files, newest_step};
pub use error::{HubError, Result};
pub use hub::{Hub, Report, Snapshot};
pub use place::{fetched, folder_or_hub};
pub use recipe::{Depth, Located, PINS, Pins, commits_of, locate, read_pins, write_pins};
pub use smollm3_corpus::fetch::FetchProgress;
pub use upload::{Content, Upload, UploadFile, UploadProgress, UploadReport, UploadStep, Uploaded};
pub use wanted::Wanted;

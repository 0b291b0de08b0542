//! Files that survive a kill: written whole or not at all, locked between processes, appended to line by line, hashed.
//!
//! * [`atomic_file`]: files and small JSON files that are whole or absent, and durable once they have their name.
//! * [`locked_file`]: files that one process holds at a time.
//! * [`LineFile`]: JSON lines that a run appends to; a full disk does not end the run.
//! * [`FileHash`], [`FileHashes`]: length and blake3 of files, each read once while it stays as it is.
//!
//! This crate knows nothing of recipes, text or tensors.

pub mod atomic_file;
mod error;
mod file_hashes;
mod folder;
mod line_file;
pub mod locked_file;

pub use error::{FilesError, Result, io};
pub use file_hashes::{FileHash, FileHashes, hash_file};
pub use folder::plain_files;
pub use line_file::{LineFile, line};

//! Files that survive a kill: written atomically, locked between processes, appended to line by line, hashed.
//!
//! * [`atomic_file`]: files that are either complete or absent, and durable once they have their name.
//! * [`atomic_folder`]: the same for folders.
//! * [`locked_file`]: files locked by one process, or shared by several.
//! * [`LineFile`]: JSON lines that a run appends to; a full disk does not end the run.
//! * [`FileHash`], [`FileHashes`]: length and blake3 of files; an unchanged file is read once.
//! * [`list()`], [`plain_files`], [`read_if_present`], [`remove_if_present`]: folders, and files that may be absent.
//!
//! This crate knows nothing of recipes, text or tensors.

pub mod atomic_file;
pub mod atomic_folder;
mod error;
mod file_hashes;
mod folder;
mod line_file;
pub mod locked_file;

pub use error::{FilesError, Result, io};
pub use file_hashes::{FileHash, FileHashes, hash_file, weights_fingerprint};
pub use folder::{list, plain_files, read_if_present, remove_if_present};
pub use line_file::{LineFile, line};

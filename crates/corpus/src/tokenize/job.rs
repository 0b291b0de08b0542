//! `job.json`: whose output a folder is, written before anything else.
//!
//! It lets a killed tokenisation go on, lets a short one start over, and keeps both from touching token
//! files they did not make.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_atomically;

use super::pieces::pieces_folder;
use super::report::{held_out_folder, remove, train_folder, withdraw};
use super::worker::Worker;
use crate::error::{CorpusError, Result};
use crate::shards::Shard;
use crate::store::Fingerprint;

const JOB: &str = "job.json";

/// What a folder is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub(super) enum Job {
    /// Numbered documents; started over when anything differs.
    Documents { inputs: Fingerprint },
    /// Files of rows; never thrown away without being asked to.
    Files(FilesJob),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilesJob {
    pub(super) format: u32,
    pub(super) source: String,
    pub(super) column: String,
    pub(super) held_out: f64,
    pub(super) parse_special_tokens: bool,
    pub(super) skip_bad_rows: bool,
    pub(super) piece_bytes: u64,
    pub(super) tokenizer: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<Worker>,
    pub(super) files: Vec<Shard>,
}

impl FilesJob {
    /// Stands for everything that decides the output.
    pub(super) fn inputs(&self) -> Result<Fingerprint> {
        let text = serde_json::to_string(self)
            .map_err(|error| CorpusError::source(&self.source, error.to_string()))?;
        Ok(Fingerprint::from_hash(blake3::hash(text.as_bytes())))
    }

    /// What differs, in words.
    pub(super) fn difference(&self, earlier: &FilesJob) -> String {
        let settings = [
            ("column", self.column != earlier.column),
            ("held_out", self.held_out != earlier.held_out),
            (
                "the treatment of special tokens",
                self.parse_special_tokens != earlier.parse_special_tokens,
            ),
            (
                "the treatment of bad rows",
                self.skip_bad_rows != earlier.skip_bad_rows,
            ),
            ("the size of pieces", self.piece_bytes != earlier.piece_bytes),
            ("the tokenizer", self.tokenizer != earlier.tokenizer),
            ("the shard", self.worker != earlier.worker),
            (
                "the version of this program's format",
                self.format != earlier.format,
            ),
        ];
        if let Some((what, _)) = settings.iter().find(|(_, differs)| *differs) {
            return format!("{what} differs");
        }
        if self.files.len() != earlier.files.len() {
            return format!(
                "the source has {} files, it had {}",
                self.files.len(),
                earlier.files.len()
            );
        }
        match self
            .files
            .iter()
            .zip(&earlier.files)
            .find(|(now, then)| now != then)
        {
            Some((now, then)) if now.name == then.name => format!("`{}` changed", now.name),
            Some((now, then)) => format!("`{}` stands where `{}` stood", now.name, then.name),
            None => "the source's name differs".to_owned(),
        }
    }
}

impl Job {
    pub(super) fn read(folder: &Path) -> Result<Option<Job>> {
        let path = folder.join(JOB);
        match fs::read_to_string(&path) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(job) => Ok(Some(job)),
                Err(error) => Err(CorpusError::store(
                    folder,
                    format!("its job.json cannot be read: {error}"),
                )),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CorpusError::io("read", &path)(error)),
        }
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(JOB);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| CorpusError::store(folder, error.to_string()))?;
        Ok(write_atomically(&path, text.as_bytes())?)
    }

    /// Makes `folder` ready for a tokenisation of documents from the start.
    ///
    /// # Errors
    /// Where it holds token files made by someone else, or by a tokenisation of files.
    pub(super) fn start_documents(folder: &Path, inputs: Fingerprint) -> Result<()> {
        match Job::read(folder)? {
            Some(Job::Documents { .. }) => {
                withdraw(folder)?;
                for part in [train_folder(folder), held_out_folder(folder)] {
                    for path in token_files(&part)? {
                        remove(&path)?;
                    }
                }
            }
            Some(Job::Files(_)) if !has_tokens(folder)? => forget(folder)?,
            Some(Job::Files(job)) => return Err(taken(folder, &format!("the tokens of `{}`", job.source))),
            None => refuse_foreign(folder)?,
        }
        Job::Documents { inputs }.save(folder)
    }

    /// Makes `folder` ready to start or go on with a tokenisation of files.
    ///
    /// # Errors
    /// Where it holds anything but this job.
    pub(super) fn start_files(folder: &Path, job: &FilesJob) -> Result<()> {
        match Job::read(folder)? {
            Some(Job::Files(earlier)) if earlier == *job => return Ok(()),
            Some(_) if !has_tokens(folder)? => forget(folder)?,
            Some(Job::Files(earlier)) => {
                let what = format!(
                    "an earlier tokenisation of `{}`: {}",
                    earlier.source,
                    job.difference(&earlier)
                );
                return Err(taken(folder, &what));
            }
            Some(Job::Documents { .. }) => return Err(taken(folder, "another tokenisation")),
            None => refuse_foreign(folder)?,
        }
        Job::Files(job.clone()).save(folder)
    }
}

fn taken(folder: &Path, by: &str) -> CorpusError {
    CorpusError::store(
        folder,
        format!("the folder holds {by}; choose another folder, or delete this one"),
    )
}

/// Removes what a job without tokens has left: one that ended before its first piece, as with a column that there is not.
fn forget(folder: &Path) -> Result<()> {
    withdraw(folder)?;
    let pieces = pieces_folder(folder);
    match fs::remove_dir_all(&pieces) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CorpusError::io("remove", &pieces)(error)),
        _ => Ok(()),
    }
}

fn refuse_foreign(folder: &Path) -> Result<()> {
    match has_tokens(folder)? {
        true => Err(taken(folder, "token files of unknown origin")),
        false => Ok(()),
    }
}

/// Whether either part holds token files.
fn has_tokens(folder: &Path) -> Result<bool> {
    let parts = [train_folder(folder), held_out_folder(folder)];
    Ok(!token_files(&parts[0])?.is_empty() || !token_files(&parts[1])?.is_empty())
}

/// The files of a part that belong to stores: `*.ds` and what stands beside them.
pub(super) fn token_files(part: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = match fs::read_dir(part) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CorpusError::io("list", part)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(CorpusError::io("list", part))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.ends_with(".ds") || name.contains(".ds.") {
            found.push(path);
        }
    }
    Ok(found)
}

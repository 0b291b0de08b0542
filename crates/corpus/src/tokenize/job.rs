//! `job.json`: which job owns a folder, written before anything else.
//!
//! It lets a killed tokenisation of files resume and one of documents start over, and keeps both from touching token files
//! that they did not write.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;
use smollm3_files::{io, list, read_if_present, remove_if_present};

use super::pieces::pieces_folder;
use super::report::{held_out_folder, train_folder, withdraw};
use super::worker::Worker;
use crate::error::{CorpusError, Result};
use crate::shards::Shard;
use crate::store::Fingerprint;

const JOB: &str = "job.json";

/// The job that owns a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub(super) enum Job {
    /// Numbered documents; started over if anything differs.
    Documents { inputs: Fingerprint },
    /// Files of rows; never deleted without being asked to.
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
    /// The fingerprint of everything that decides the output.
    pub(super) fn inputs(&self) -> Result<Fingerprint> {
        let text = serde_json::to_string(self)
            .map_err(|error| CorpusError::source(&self.source, error.to_string()))?;
        Ok(Fingerprint::from_hash(blake3::hash(text.as_bytes())))
    }

    /// A description of the first difference.
    pub(super) fn difference(&self, earlier: &FilesJob) -> String {
        let special_tokens = self.parse_special_tokens != earlier.parse_special_tokens;
        let settings = [
            ("column", self.column != earlier.column),
            ("held_out", self.held_out != earlier.held_out),
            ("the treatment of special tokens", special_tokens),
            (
                "the treatment of bad rows",
                self.skip_bad_rows != earlier.skip_bad_rows,
            ),
            ("the size of pieces", self.piece_bytes != earlier.piece_bytes),
            ("the tokenizer", self.tokenizer != earlier.tokenizer),
            ("the shard", self.worker != earlier.worker),
            ("the version of the format", self.format != earlier.format),
        ];
        if let Some((what, _)) = settings.iter().find(|(_, differs)| *differs) {
            return format!("{what} differs");
        }
        if self.files.len() != earlier.files.len() {
            let (now, then) = (self.files.len(), earlier.files.len());
            return format!("the source has {now} files, it had {then}");
        }
        let mut files = self.files.iter().zip(&earlier.files);
        match files.find(|(now, then)| now != then) {
            Some((now, then)) if now.name == then.name => format!("`{}` changed", now.name),
            Some((now, then)) => format!("`{}` stands where `{}` stood", now.name, then.name),
            None => "the source's name differs".to_owned(),
        }
    }
}

impl Job {
    pub(super) fn read(folder: &Path) -> Result<Option<Job>> {
        let text = read_if_present(&folder.join(JOB))?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| CorpusError::store(folder, format!("its job.json cannot be read: {error}")))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        Ok(write_json(&folder.join(JOB), self)?)
    }

    /// Prepares `folder` for tokenising documents from the start.
    ///
    /// # Errors
    /// It holds token files of unknown origin, or of a tokenisation of files.
    pub(super) fn start_documents(folder: &Path, inputs: Fingerprint) -> Result<()> {
        match Job::read(folder)? {
            Some(Job::Documents { .. }) => {
                withdraw(folder)?;
                for part in [train_folder(folder), held_out_folder(folder)] {
                    for path in token_files(&part)? {
                        remove_if_present(&path)?;
                    }
                }
            }
            Some(Job::Files(_)) if !has_tokens(folder)? => forget(folder)?,
            Some(Job::Files(job)) => return Err(taken(folder, &format!("the tokens of `{}`", job.source))),
            None if has_tokens(folder)? => return Err(taken(folder, "token files of unknown origin")),
            None => {}
        }
        Job::Documents { inputs }.save(folder)
    }

    /// Prepares `folder` for starting or resuming a tokenisation of files.
    ///
    /// # Errors
    /// It belongs to another job.
    pub(super) fn start_files(folder: &Path, job: &FilesJob) -> Result<()> {
        match Job::read(folder)? {
            Some(Job::Files(earlier)) if earlier == *job => return Ok(()),
            Some(_) if !has_tokens(folder)? => forget(folder)?,
            Some(Job::Files(earlier)) => {
                let difference = job.difference(&earlier);
                let what = format!("an earlier tokenisation of `{}`: {difference}", earlier.source);
                return Err(taken(folder, &what));
            }
            Some(Job::Documents { .. }) => return Err(taken(folder, "another tokenisation")),
            None if has_tokens(folder)? => return Err(taken(folder, "token files of unknown origin")),
            None => {}
        }
        Job::Files(job.clone()).save(folder)
    }
}

fn taken(folder: &Path, by: &str) -> CorpusError {
    let problem = format!("the folder holds {by}; choose another folder, or delete this one");
    CorpusError::store(folder, problem)
}

/// Removes what a job left that ended before its first piece, for instance because its column does not exist.
fn forget(folder: &Path) -> Result<()> {
    withdraw(folder)?;
    let pieces = pieces_folder(folder);
    if pieces.exists() {
        fs::remove_dir_all(&pieces).map_err(io("remove", &pieces))?;
    }
    Ok(())
}

/// Whether either part holds token files.
fn has_tokens(folder: &Path) -> Result<bool> {
    Ok(!token_files(&train_folder(folder))?.is_empty() || !token_files(&held_out_folder(folder))?.is_empty())
}

/// The files of a part that belong to stores: `*.ds` and their companions.
pub(super) fn token_files(part: &Path) -> Result<Vec<PathBuf>> {
    files_named(part, |name| name.ends_with(".ds") || name.contains(".ds."))
}

/// The files of a folder, which may be absent, that have a `wanted` name.
pub(super) fn files_named(folder: &Path, wanted: fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = list(folder)?;
    files.retain(|path| wanted(&path.file_name().unwrap_or_default().to_string_lossy()));
    Ok(files)
}

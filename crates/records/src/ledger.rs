//! `ledger.json`: where the tokens of a stage's conversations went.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;

use crate::error::{Result, content};

/// Where each token of the conversations went. `input = trained + masked + truncated + dropped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Tokens of all conversations.
    pub input: u64,
    /// The loss is about these.
    pub trained: u64,
    /// These are only seen: questions, and the first token of each piece.
    pub masked: u64,
    /// Cut off conversations of which the rest is used.
    pub truncated: u64,
    /// Of conversations that are left out, and of rows without anything to learn.
    pub dropped: u64,
    /// What the packing says.
    pub packing: smollm3_packing::Ledger,
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |tokens: u64| 100.0 * tokens as f64 / self.input.max(1) as f64;
        write!(
            f,
            "{} conversations of {} tokens in {} rows, {:.1} % full: {} trained on ({:.1} %), {} masked ({:.1} %), \
             {} truncated ({:.1} %), {} dropped ({:.1} %)",
            self.packing.documents,
            self.input,
            self.packing.rows,
            100.0 * self.packing.fill(),
            self.trained,
            part(self.trained),
            self.masked,
            part(self.masked),
            self.truncated,
            part(self.truncated),
            self.dropped,
            part(self.dropped),
        )
    }
}

const LEDGER: &str = "ledger.json";

/// Writes it into a stage's folder.
///
/// # Errors
/// It cannot be written.
pub fn write_ledger(folder: &Path, ledger: &Ledger) -> Result<()> {
    Ok(write_json(&folder.join(LEDGER), ledger)?)
}

/// The ledger in a stage's folder; none if the stage is not one on conversations.
///
/// # Errors
/// The file is damaged.
pub fn read_ledger(folder: &Path) -> Result<Option<Ledger>> {
    let path = folder.join(LEDGER);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(smollm3_files::io("read", &path))?,
    };
    serde_json::from_str(&text).map(Some).map_err(content(&path))
}

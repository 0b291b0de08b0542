//! `ledger.json`: where the tokens of a stage's conversations went.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;

use crate::error::{Result, read_json};

/// Where each token of the conversations went. `input = trained + masked + truncated + dropped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Tokens of all conversations.
    pub input: u64,
    /// Those that the loss is computed on.
    pub trained: u64,
    /// Those that are only seen: questions, and the first token of each piece.
    pub masked: u64,
    /// Cut off conversations of which the rest is used.
    pub truncated: u64,
    /// Those of conversations that are left out, and of rows with nothing to learn.
    pub dropped: u64,
    /// The packing's own count.
    pub packing: smollm3_packing::Ledger,
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (documents, rows, fill) = (
            self.packing.documents,
            self.packing.rows,
            100.0 * self.packing.fill(),
        );
        let input = self.input;
        write!(
            f,
            "{documents} conversations of {input} tokens in {rows} rows, {fill:.1} % full"
        )?;
        for (before, tokens, what) in [
            (": ", self.trained, "trained on"),
            (", ", self.masked, "masked"),
            (", ", self.truncated, "truncated"),
            (", ", self.dropped, "dropped"),
        ] {
            let part = 100.0 * tokens as f64 / input.max(1) as f64;
            write!(f, "{before}{tokens} {what} ({part:.1} %)")?;
        }
        Ok(())
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

/// The ledger in a stage's folder; `None` unless the stage is one on conversations.
///
/// # Errors
/// The file is damaged.
pub fn read_ledger(folder: &Path) -> Result<Option<Ledger>> {
    read_json(&folder.join(LEDGER))
}

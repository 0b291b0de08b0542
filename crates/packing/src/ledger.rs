//! Where each token went.
//!
//! Counted while documents are cut, not recomputed from the rows, so that a test can hold one against
//! the other. `input = kept + truncated + dropped`, always.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The account of one packing. Its `Display` is a table for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Documents given.
    pub documents: u64,
    /// Of them without tokens: they give no fragment.
    pub empty_documents: u64,
    /// Of them cut on the right.
    pub truncated_documents: u64,
    /// Of them in more than one fragment.
    pub split_documents: u64,
    /// Of them left out because they are longer than a row.
    pub dropped_documents: u64,
    /// Tokens given.
    pub input: u64,
    /// Tokens in rows.
    pub kept: u64,
    /// Tokens cut off documents of which the rest was kept.
    pub truncated: u64,
    /// Tokens of documents left out.
    pub dropped: u64,
    /// Rows made.
    pub rows: u64,
    /// Capacity of a row in tokens.
    pub row: u32,
}

impl Ledger {
    /// Part of the rows that holds tokens, from 0 to 1; 0 without rows.
    pub fn fill(&self) -> f64 {
        share(self.kept, self.rows * u64::from(self.row))
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("documents", self.documents, String::new()),
            ("  empty", self.empty_documents, String::new()),
            ("  truncated", self.truncated_documents, String::new()),
            ("  split", self.split_documents, String::new()),
            ("  dropped", self.dropped_documents, String::new()),
            ("tokens", self.input, String::new()),
            ("  kept", self.kept, percent(share(self.kept, self.input))),
            (
                "  truncated",
                self.truncated,
                percent(share(self.truncated, self.input)),
            ),
            (
                "  dropped",
                self.dropped,
                percent(share(self.dropped, self.input)),
            ),
            ("rows", self.rows, format!("{} full", percent(self.fill()))),
            ("  of tokens", u64::from(self.row), String::new()),
        ];
        let width = lines
            .iter()
            .map(|(_, count, _)| thousands(*count).len())
            .max()
            .unwrap_or(0);
        for (name, count, note) in lines {
            let line = format!("{name:<12} {:>width$}  {note}", thousands(count));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn percent(share: f64) -> String {
    format!("{:6.2} %", 100.0 * share)
}

/// `1234567` as `1,234,567`.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

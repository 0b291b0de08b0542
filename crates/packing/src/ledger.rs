//! The account of all tokens.
//!
//! Counted while documents are cut, not computed from the rows, so that a test can compare the two. Always
//! `input = kept + truncated + dropped`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The account of one packing. Its `Display` is a table for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Documents given.
    pub documents: u64,
    /// Documents without tokens, which give no fragment.
    pub empty_documents: u64,
    /// Documents truncated at the end.
    pub truncated_documents: u64,
    /// Documents in more than one fragment.
    pub split_documents: u64,
    /// Documents dropped because they are longer than a row.
    pub dropped_documents: u64,
    /// Tokens given.
    pub input: u64,
    /// Tokens in rows.
    pub kept: u64,
    /// Tokens cut off truncated documents.
    pub truncated: u64,
    /// Tokens of dropped documents.
    pub dropped: u64,
    /// Rows made.
    pub rows: u64,
    /// Capacity of a row in tokens.
    pub row: u32,
}

impl Ledger {
    /// The share of the rows' capacity that is used, from 0 to 1; 0 without rows.
    pub fn fill(&self) -> f64 {
        share(self.kept, self.rows * u64::from(self.row))
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |name, count| (name, thousands(count), String::new());
        let tokens = |name, tokens| (name, thousands(tokens), percent(share(tokens, self.input)));
        let full = format!("{} full", percent(self.fill()));
        let lines = [
            count("documents", self.documents),
            count("  empty", self.empty_documents),
            count("  truncated", self.truncated_documents),
            count("  split", self.split_documents),
            count("  dropped", self.dropped_documents),
            count("tokens", self.input),
            tokens("  kept", self.kept),
            tokens("  truncated", self.truncated),
            tokens("  dropped", self.dropped),
            ("rows", thousands(self.rows), full),
            count("  of tokens", u64::from(self.row)),
        ];
        let width = lines.iter().map(|(_, count, _)| count.len()).max().unwrap_or(0);
        for (name, count, note) in lines {
            writeln!(f, "{}", format!("{name:<12} {count:>width$}  {note}").trim_end())?;
        }
        Ok(())
    }
}

fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
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

//! Token widths and the metadata text of a `.ds` file.

use std::path::{Path, PathBuf};

use crate::error::{CorpusError, Result};

/// Bytes a token takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenWidth {
    /// Two bytes: vocabularies of up to 65,536 entries.
    U16,
    /// Four bytes: larger vocabularies.
    U32,
}

impl TokenWidth {
    /// The narrowest width whose ids reach `vocab_size - 1`; datatrove's rule.
    pub fn for_vocab(vocab_size: u64) -> Self {
        match vocab_size <= 1 << 16 {
            true => TokenWidth::U16,
            false => TokenWidth::U32,
        }
    }

    /// 2 or 4.
    pub fn bytes(self) -> u64 {
        match self {
            TokenWidth::U16 => 2,
            TokenWidth::U32 => 4,
        }
    }

    pub(crate) fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            2 => Some(TokenWidth::U16),
            4 => Some(TokenWidth::U32),
            _ => None,
        }
    }
}

/// What `X.ds.metadata` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) tokenizer: String,
    pub(crate) width: TokenWidth,
    pub(crate) tokens: u64,
}

impl Metadata {
    /// The three lines, without a newline at the end, as datatrove writes them.
    pub(crate) fn render(&self) -> String {
        format!(
            "{}|{}\n{}\n{}",
            self.tokenizer,
            self.width.bytes(),
            self.tokens,
            human_count(self.tokens)
        )
    }

    /// Reads the first two lines; the third repeats the second for people. A tokenizer's name may hold
    /// a `|` itself, so the width is what follows the last one.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self> {
        let wrong = |problem: String| CorpusError::damaged(path, format!("its metadata {problem}"));
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let (tokenizer, width) = first
            .rsplit_once('|')
            .ok_or_else(|| wrong(format!("begins `{first}`, not `tokenizer|bytes per token`")))?;
        let parsed = width.trim().parse().ok().and_then(TokenWidth::from_bytes);
        let width = parsed.ok_or_else(|| wrong(format!("gives `{width}` bytes per token, not 2 or 4")))?;
        let second = lines.next().unwrap_or_default().trim();
        let tokens = second
            .parse()
            .map_err(|_| wrong(format!("gives `{second}` for the number of tokens")))?;
        Ok(Metadata {
            tokenizer: tokenizer.to_owned(),
            width,
            tokens,
        })
    }
}

/// A token count with three digits and a metric prefix: `1.23 MT`.
///
/// The third line of the metadata, as Python's `humanize.metric(count, unit="T")` writes it, so that the file equals
/// datatrove's.
pub fn human_count(tokens: u64) -> String {
    let exponent_of = |value: u64| value.checked_ilog10().unwrap_or(0) as usize;
    let mut exponent = exponent_of(tokens);
    let mut value = tokens as f64 / 10f64.powi((exponent / 3 * 3) as i32);
    let digits = |exponent: usize| 2 - exponent % 3;
    let rounded: f64 = format!("{value:.*}", digits(exponent)).parse().unwrap_or(value);
    if rounded >= 10f64.powi((exponent % 3) as i32 + 1) {
        // 9.999 rounds to 10.0: one more digit before the point, perhaps the next prefix.
        let bucket = exponent / 3;
        exponent += 1;
        value /= 10f64.powi(((exponent / 3 - bucket) * 3) as i32);
    }
    let prefix = ["", "k", "M", "G", "T", "P", "E"]
        .get(exponent / 3)
        .unwrap_or(&"");
    format!("{value:.*} {prefix}T", digits(exponent))
}

/// `X.ds` → `X.ds.<suffix>`.
pub(crate) fn beside(tokens: &Path, suffix: &str) -> PathBuf {
    let mut name = tokens.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

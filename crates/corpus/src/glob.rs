//! Patterns that name files.

use globset::GlobBuilder;

use crate::error::{CorpusError, Result};

/// Whether a pattern is more than a plain path.
pub(crate) fn has_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{'])
}

/// A glob in which `*` stops at `/` and `**` does not.
pub(crate) fn compile_glob(source: &str, pattern: &str) -> Result<globset::GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob =
        glob.map_err(|error| CorpusError::source(source, format!("`{pattern}` is not a pattern: {error}")))?;
    Ok(glob.compile_matcher())
}

/// The folder part of a pattern before its first wildcard: `a/b/*.gz` → `a/b`.
pub(crate) fn literal_root(pattern: &str) -> &str {
    let wild = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    let head = pattern.get(..wild).unwrap_or_default();
    match head.rfind('/') {
        Some(0) => "/",
        Some(slash) => head.get(..slash).unwrap_or_default(),
        None => "",
    }
}

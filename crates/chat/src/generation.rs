//! `{% generation %}` blocks: the parts of a rendered text that the assistant wrote.
//!
//! Jinja has no such tag and minijinja cannot be extended with one, so the source is rewritten before it is parsed: the tags
//! become a call block (as in transformers, so assignments inside stay inside) whose function puts a marker character before
//! and after the text. The markers are removed from the finished text, and what lay between them are the spans. Only the
//! tags are rewritten, each within its line: white space control and line numbers do not change.
//!
//! The markers are private-use characters that occur neither in the template nor in its input, so no message can forge one.
//! Rejected: the length of the output so far, which Jinja does not expose, and which is wrong inside captured text.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

/// The function that the rewritten tags call.
pub(crate) const FUNCTION: &str = "__generation_block";

/// Markers come from the private-use planes; ordinary text never leaves the planes below.
const PRIVATE: Range<u32> = 0xf_0000..0x11_0000;

/// Four characters that occur in nothing that is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Markers {
    /// Begins a block.
    pub(crate) open: char,
    /// Ends a block.
    pub(crate) close: char,
    /// Stands where the final message is to be continued.
    pub(crate) cut: char,
    /// Stands inside a special token that the content spells.
    pub(crate) quote: char,
}

impl Markers {
    /// The first four private-use characters that are not in `used`, if any are left.
    pub(crate) fn avoiding(used: &BTreeSet<char>) -> Option<Self> {
        let mut free = PRIVATE.filter_map(char::from_u32).filter(|c| !used.contains(c));
        Some(Markers {
            open: free.next()?,
            close: free.next()?,
            cut: free.next()?,
            quote: free.next()?,
        })
    }

    /// Whether one of them is in `used`.
    pub(crate) fn clash(&self, used: &BTreeSet<char>) -> bool {
        [self.open, self.close, self.cut, self.quote]
            .iter()
            .any(|c| used.contains(c))
    }

    /// Removes the markers of blocks from `marked`: the text, and the byte ranges of the outermost blocks. `None` if the
    /// markers do not pair up, because the template cut the text of a block.
    pub(crate) fn take_out(&self, marked: &str) -> Option<(String, Vec<Range<usize>>)> {
        let mut text = String::with_capacity(marked.len());
        let mut spans = Vec::new();
        let (mut depth, mut start) = (0_usize, 0);
        let mut rest = marked;
        while let Some(at) = rest.find([self.open, self.close]) {
            let (before, after) = rest.split_at(at);
            text.push_str(before);
            let mut after = after.chars();
            if after.next() == Some(self.open) {
                if depth == 0 {
                    start = text.len();
                }
                depth += 1;
            } else {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    spans.push(start..text.len());
                }
            }
            rest = after.as_str();
        }
        text.push_str(rest);
        (depth == 0).then_some((text, spans))
    }
}

/// Adds the private-use characters of `text` to `used`.
pub(crate) fn private_characters(text: &str, used: &mut BTreeSet<char>) {
    // Their first byte in UTF-8 is 0xf3 or 0xf4; nearly every text has neither.
    if text.bytes().any(|byte| byte >= 0xf3) {
        used.extend(text.chars().filter(|c| PRIVATE.contains(&(*c as u32))));
    }
}

/// The same for every string in a JSON value, keys included.
pub(crate) fn private_characters_of(value: &Value, used: &mut BTreeSet<char>) {
    match value {
        Value::String(text) => private_characters(text, used),
        Value::Array(items) => items.iter().for_each(|item| private_characters_of(item, used)),
        Value::Object(entries) => entries.iter().for_each(|(key, item)| {
            private_characters(key, used);
            private_characters_of(item, used);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An error in `{% generation %}` tags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TagError {
    /// Byte offset in the source.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) problem: String,
}

/// The source with its generation tags rewritten, and how many blocks it has.
pub(crate) fn rewrite(source: &str) -> Result<(String, usize), TagError> {
    let mut out = String::with_capacity(source.len());
    let mut open: Vec<Block> = Vec::new();
    let mut blocks = 0;
    let mut at = 0;
    while let Some(found) = find_from(source, at, "{") {
        out.push_str(source.get(at..found).unwrap_or_default());
        let rest = source.get(found..).unwrap_or_default();
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => expression_end(rest, "}}"),
            Some(b'%') => expression_end(rest, "%}"),
            _ => 1,
        };
        let tag = rest.get(..length).unwrap_or(rest);
        at = found + length;
        match tag_name(tag) {
            Some("raw") => {
                // Everything up to the end of the block is text.
                let end = raw_end(source, at);
                out.push_str(source.get(found..end).unwrap_or_default());
                at = end;
                continue;
            }
            Some("generation") => {
                blocks += 1;
                open.push(Block { at: found, loops: 0 });
                let call = format!("call {FUNCTION}()");
                out.push_str(&tag.replacen("generation", &call, 1));
                continue;
            }
            Some("endgeneration") => {
                if open.pop().is_none() {
                    let problem = "`endgeneration` without a `generation` before it".to_owned();
                    return Err(TagError { at: found, problem });
                }
                out.push_str(&tag.replacen("endgeneration", "endcall", 1));
                continue;
            }
            Some("for") => open.iter_mut().for_each(|block| block.loops += 1),
            Some("endfor") => open
                .iter_mut()
                .for_each(|block| block.loops = block.loops.saturating_sub(1)),
            Some(jump @ ("break" | "continue")) if open.last().is_some_and(|block| block.loops == 0) => {
                let problem = format!("`{jump}` cannot leave a `generation` block; end the block before it");
                return Err(TagError { at: found, problem });
            }
            _ => {}
        }
        out.push_str(tag);
    }
    out.push_str(source.get(at..).unwrap_or_default());
    match open.last() {
        Some(block) => Err(TagError {
            at: block.at,
            problem: "`generation` is never closed; write `{% endgeneration %}`".to_owned(),
        }),
        None => Ok((out, blocks)),
    }
}

/// A generation block that is still open.
struct Block {
    at: usize,
    loops: usize,
}

fn find_from(source: &str, at: usize, what: &str) -> Option<usize> {
    source.get(at..)?.find(what).map(|found| at + found)
}

/// Length of an expression or tag including `close`; strings and brackets inside it are skipped.
fn expression_end(rest: &str, close: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (2, 0_usize);
    let mut quote = None;
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, _) if depth == 0 && bytes[at..].starts_with(close.as_bytes()) => return at + close.len(),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The name of a `{% … %}` tag.
fn tag_name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside).trim_start();
    let end = inside
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inside.len());
    inside.get(..end)
}

/// Where the `{% endraw %}` after `at` ends.
fn raw_end(source: &str, mut at: usize) -> usize {
    while let Some(found) = find_from(source, at, "{%") {
        let rest = source.get(found..).unwrap_or_default();
        if tag_name(rest) == Some("endraw") {
            return found + rest.find("%}").map_or(rest.len(), |end| end + 2);
        }
        at = found + 2;
    }
    source.len()
}

//! One row of JSON: one field of its object without building the object, or the object with selected fields.
//!
//! Other fields are skipped, not stored, and text without escapes is borrowed from the line: this runs at several hundred
//! megabytes a second per core, far faster than tokenising. The contents of skipped fields never matter, neither invalid
//! UTF-8 nor what only Python accepts as JSON (see `mend.rs`).

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::mend::{Replaced, mend};
use super::{Columns, RowProblem, RowText};

/// The text of `column` in `line`; `None` for a blank line.
pub(super) fn text_of<'a>(line: &'a [u8], column: &str) -> Result<Option<RowText<'a>>, RowProblem> {
    let line = TrimmedRow::new(line);
    if line.text.is_empty() {
        return Ok(None);
    }
    let (found, lone_surrogates) = match parse(line.text, TextField { column }) {
        Ok(found) => (found, 0),
        Err(error) => {
            let mended = mend(line.text).ok_or_else(|| line.problem(&error, error.column()))?;
            match parse(&mended.line, TextField { column }) {
                Ok(FieldValue::Text(text)) if mended.is_number(&text) => (FieldValue::Other("a number"), 0),
                Ok(FieldValue::Text(text)) => {
                    let (text, halves) = mended.text(&text);
                    (FieldValue::Text(Cow::Owned(text)), halves)
                }
                Ok(FieldValue::Nothing) => (FieldValue::Nothing, 0),
                Ok(FieldValue::Null) => return Err(RowProblem::Null),
                Ok(FieldValue::Other(kind)) => return Err(RowProblem::NotText(kind)),
                Err(error) => return Err(line.problem(&error, mended.column(error.column()))),
            }
        }
    };
    match found {
        FieldValue::Text(text) => Ok(Some(RowText {
            text,
            lone_surrogates,
        })),
        FieldValue::Null => Err(RowProblem::Null),
        FieldValue::Other(kind) => Err(RowProblem::NotText(kind)),
        FieldValue::Nothing => Err(RowProblem::NoColumn),
    }
}

/// The object in `line` with its `columns`, the others null, and the replacements in it; `None` for a blank line.
pub(super) fn object_of(line: &[u8], columns: &Columns) -> Result<Option<(Json, Replaced)>, RowProblem> {
    let line = TrimmedRow::new(line);
    if line.text.is_empty() {
        return Ok(None);
    }
    let mut replaced = Replaced::default();
    let object = match parse(line.text, Fields { columns }) {
        Ok(object) => Json::Object(object),
        Err(error) => {
            let mended = mend(line.text).ok_or_else(|| line.problem(&error, error.column()))?;
            let object = parse(&mended.line, Fields { columns })
                .map_err(|error| line.problem(&error, mended.column(error.column())))?;
            mended.value(Json::Object(object), &mut replaced)
        }
    };
    Ok(Some((object, replaced)))
}

/// Whether `line` holds only white space, and so is no row.
pub(super) fn is_blank(line: &[u8]) -> bool {
    TrimmedRow::new(line).text.is_empty()
}

/// A text without a leading byte order mark.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn parse<'a, S: DeserializeSeed<'a>>(text: &'a [u8], seed: S) -> serde_json::Result<S::Value> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let found = seed.deserialize(&mut parser)?;
    parser.end().map(|()| found)
}

/// A row without the white space around it.
struct TrimmedRow<'a> {
    text: &'a [u8],
    /// Bytes before the text.
    indent: usize,
}

impl<'a> TrimmedRow<'a> {
    fn new(line: &'a [u8]) -> Self {
        // In concatenated files, each may begin with a mark.
        let text = without_mark(line).trim_ascii_start();
        TrimmedRow {
            indent: line.len() - text.len(),
            text: text.trim_ascii_end(),
        }
    }

    /// The problem in the parser's words; it stopped in `column` (in bytes, from 1).
    fn problem(&self, error: &serde_json::Error, column: usize) -> RowProblem {
        if std::str::from_utf8(self.text).is_err() {
            return RowProblem::NotUtf8;
        }
        if let Some(kind) = self.other_value() {
            return RowProblem::BrokenJson(format!("it is {kind}"));
        }
        if self.text == b"{" {
            let remedy = "it runs over several lines; write each row on one line (`jq -c . FILE` does)";
            return RowProblem::BrokenJson(remedy.to_owned());
        }
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let words = match message.strip_suffix(&place).unwrap_or(&message) {
            "recursion limit exceeded" => "nested more than 127 deep",
            words => words,
        };
        // Rows of a list may run over several lines.
        let place = match error.line() {
            1 => format!("at column {}", column + self.indent),
            line => format!("in its line {line} at column {column}"),
        };
        let remedy = match words {
            "trailing characters" => "; write one object a line (`jq -c . FILE` does)",
            _ => "",
        };
        RowProblem::BrokenJson(format!("{words} {place}{remedy}"))
    }

    /// The kind of a valid value that is not an object.
    fn other_value(&self) -> Option<&'static str> {
        let kind = match self.text.first()? {
            b'[' => "a list",
            b'"' => "text",
            b't' | b'f' => "true or false",
            b'n' => "null",
            b'-' | b'0'..=b'9' => "a number",
            _ => return None,
        };
        let is_valid = serde_json::from_slice::<IgnoredAny>(self.text).is_ok();
        is_valid.then_some(kind)
    }
}

/// Keeps the fields of `columns`; of duplicates the last.
struct Fields<'c> {
    columns: &'c Columns,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Map<String, Json>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Map<String, Json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = match self.columns.holds(&key) {
                true => map.next_value()?,
                false => map.next_value::<IgnoredAny>().map(|_| Json::Null)?,
            };
            fields.insert(key, value);
        }
        Ok(fields)
    }
}

enum FieldValue<'a> {
    Nothing,
    Null,
    Other(&'static str),
    Text(Cow<'a, str>),
}

/// Keeps only `column`; of duplicates the last.
struct TextField<'c> {
    column: &'c str,
}

impl<'de> DeserializeSeed<'de> for TextField<'_> {
    type Value = FieldValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TextField<'_> {
    type Value = FieldValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = FieldValue::Nothing;
        while let Some(is_column) = map.next_key_seed(Key { column: self.column })? {
            if is_column {
                found = map.next_value_seed(Value)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is the column.
struct Key<'c> {
    column: &'c str,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        // As bytes: other keys need not be UTF-8 either.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.column.as_bytes())
    }
}

/// The value of the column, whatever its type.
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = FieldValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = FieldValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(FieldValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(FieldValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(FieldValue::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(FieldValue::Other("true or false"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(FieldValue::Other("a number"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(FieldValue::Other("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(FieldValue::Other("a number"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other("an object"))
    }
}

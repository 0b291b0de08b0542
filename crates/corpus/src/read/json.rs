//! One line of JSON: one field of its object without building the object, or the object whole.
//!
//! For one field the others are walked over, not stored, and text without escapes is borrowed from the
//! line: this runs at several hundred megabytes a second a core, far faster than tokenising.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;

use super::RowProblem;

/// The text under `column` in `line`; `None` for a line of white space.
pub(super) fn text_of<'a>(line: &'a [u8], column: &str) -> Result<Option<Cow<'a, str>>, RowProblem> {
    let Some(Line { text, indent }) = Line::new(line)? else {
        return Ok(None);
    };
    let mut parser = serde_json::Deserializer::from_str(text);
    let found = Object { column }
        .deserialize(&mut parser)
        .and_then(|found| parser.end().map(|()| found));
    match found {
        Ok(Found::Text(text)) => Ok(Some(text)),
        Ok(Found::Null) => Err(RowProblem::Null),
        Ok(Found::Other(kind)) => Err(RowProblem::NotText(kind)),
        Ok(Found::Nothing) => Err(RowProblem::NoColumn),
        Err(error) => Err(broken(&error, indent)),
    }
}

/// The object in `line`; `None` for a line of white space.
pub(super) fn object_of(line: &[u8]) -> Result<Option<Json>, RowProblem> {
    let Some(Line { text, indent }) = Line::new(line)? else {
        return Ok(None);
    };
    let found = match serde_json::from_str(text).map_err(|error| broken(&error, indent))? {
        object @ Json::Object(_) => return Ok(Some(object)),
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
    };
    Err(RowProblem::BrokenJson(format!("it is {found}")))
}

/// Whether `line` holds only white space, and so is no row.
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// A line without the white space around it.
struct Line<'a> {
    text: &'a str,
    /// Bytes before the text.
    indent: usize,
}

impl<'a> Line<'a> {
    /// `None` for a line of white space.
    fn new(line: &'a [u8]) -> Result<Option<Self>, RowProblem> {
        if is_blank(line) {
            return Ok(None);
        }
        let indent = line.len() - line.trim_ascii_start().len();
        match std::str::from_utf8(line.trim_ascii()) {
            Ok(text) => Ok(Some(Line { text, indent })),
            Err(_) => Err(RowProblem::NotUtf8),
        }
    }
}

/// The parser's words, with the column (in bytes, from 1) in the whole line.
fn broken(error: &serde_json::Error, indent: usize) -> RowProblem {
    // The line number in serde's message is that inside this one line: always 1.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    RowProblem::BrokenJson(match message.strip_suffix(&place) {
        Some(words) => format!("{words} at column {}", error.column() + indent),
        None => message,
    })
}

enum Found<'a> {
    Nothing,
    Null,
    Other(&'static str),
    Text(Cow<'a, str>),
}

/// An object, of which only `column` is kept; the last one where it is given twice.
struct Object<'c> {
    column: &'c str,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::Nothing;
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
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.column)
    }
}

/// The value of the column, whatever its type.
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Found::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Found::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Found::Other("true or false"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an object"))
    }
}

//! The fields of a request, read one by one.
//!
//! The body is read as rows of data are: a byte order mark, and what only Python writes as JSON, are no obstacle, nor is
//! anything in a field that has no effect.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use smollm3_chat::json_text;

use super::{Checked, Refusal};

/// Fields that do not affect the answer.
const IGNORED: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// The fields of a request that were not read so far. A field that is `null` is absent.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Body)
    }
}

struct Body;

impl<'de> Visitor<'de> for Body {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if IGNORED.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            fields.insert(name, map.next_value()?);
        }
        fields.retain(|_, value: &mut Value| !value.is_null());
        Ok(Fields(fields))
    }
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// It is not a JSON object.
    pub fn parse(body: &[u8]) -> Checked<Self> {
        let refused = |problem: String| Refusal::new(StatusCode::BAD_REQUEST, problem);
        let text =
            std::str::from_utf8(body).map_err(|error| refused(format!("the body is not JSON: {error}")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        json_text::parse(text).map_err(|error| match error.is_data() {
            true => refused("the body must be a JSON object".to_owned()),
            false => refused(format!("the body is not JSON: {error}")),
        })
    }

    /// The value of `name`; `expected` describes it in the refusal.
    ///
    /// # Errors
    /// It has another type.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str, expected: impl Display) -> Checked<Option<T>> {
        let Some(value) = self.0.shift_remove(name) else {
            return Ok(None);
        };
        match serde_json::from_value(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Refusal::field(name, format!("must be {expected}"))),
        }
    }

    /// A number in `range`.
    ///
    /// # Errors
    /// It is not one.
    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Checked<Option<f64>> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        match self.take::<f64>(name, &expected)? {
            Some(number) if !range.contains(&number) => Err(Refusal::field(
                name,
                format!("is {number}; it must be {expected}"),
            )),
            number => Ok(number),
        }
    }

    /// A whole number in `range`.
    ///
    /// # Errors
    /// It is not one.
    pub fn count(&mut self, name: &str, range: RangeInclusive<usize>) -> Checked<Option<usize>> {
        let expected = match *range.end() {
            usize::MAX => format!("a whole number of at least {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        match self.take::<usize>(name, &expected)? {
            Some(count) if !range.contains(&count) => {
                Err(Refusal::field(name, format!("is {count}; it must be {expected}")))
            }
            count => Ok(count),
        }
    }

    /// `true` or `false`; `false` if absent.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&mut self, name: &str) -> Checked<bool> {
        Ok(self.take(name, "true or false")?.unwrap_or(false))
    }

    /// Removes entries that ask for nothing from the object `name`.
    pub fn leave_out_of(&mut self, name: &str, asks_nothing: impl Fn(&Value) -> bool) {
        if let Some(Value::Object(entries)) = self.0.get_mut(name) {
            entries.retain(|_, value| !asks_nothing(value));
        }
    }

    /// A known field that is not supported: only a value that asks for nothing passes.
    ///
    /// # Errors
    /// It asks for something.
    pub fn unsupported(&mut self, name: &str, asks_nothing: impl Fn(&Value) -> bool) -> Checked<()> {
        self.refuse(name, "is not supported here; leave it out", asks_nothing)
    }

    /// As [`unsupported`](Self::unsupported), with its own `problem`.
    ///
    /// # Errors
    /// As there.
    pub fn refuse(
        &mut self,
        name: &str,
        problem: &str,
        asks_nothing: impl Fn(&Value) -> bool,
    ) -> Checked<()> {
        match self.0.shift_remove(name) {
            Some(value) if !asks_nothing(&value) => Err(Refusal::field(name, problem)),
            _ => Ok(()),
        }
    }

    /// Checks that no field is left.
    ///
    /// # Errors
    /// A field is unknown.
    pub fn finish(self) -> Checked<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::field(name, "is not known here; leave it out")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_python_writes_them() {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let body = format!(
            "\u{feff}{{\"metadata\": {{\"x\": NaN, \"y\": {deep}}}, \"prompt\": \"a \\ud83d b\", \"stop\": null}}"
        );
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        assert_eq!(
            fields.take::<String>("prompt", "a text").unwrap().unwrap(),
            "a \u{fffd} b"
        );
        fields.finish().unwrap();
        for (body, says) in [
            (
                "{\"temperature\": NaN}",
                "not JSON: expected value at line 1 column 17",
            ),
            ("{\"prompt\": ", "not JSON: EOF"),
            ("[NaN]", "must be a JSON object"),
        ] {
            let error = Fields::parse(body.as_bytes()).unwrap_err().body().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

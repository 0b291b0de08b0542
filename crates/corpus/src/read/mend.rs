//! Makes Python's extensions of JSON parseable.
//!
//! `NaN`, `Infinity` and numbers beyond the range of `f64` become a string of one stand-in character, halves of surrogate
//! pairs another. Fields that are not read may contain them; in fields that are read they are replaced and counted. This
//! runs only on lines that `serde_json` refused; any other error remains.

use serde_json::{Map, Value};

/// Noncharacters of Unicode (U+FDD0 to U+FDEF), of which no line has all.
const STAND_INS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// Replacements in the fields of a row that are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Halves of surrogate pairs, read as U+FFFD.
    pub surrogates: u64,
    /// Numbers that JSON cannot represent (NaN, infinities), read as null.
    pub numbers: u64,
}

impl Replaced {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        *self != Replaced::default()
    }

    /// Descriptions of the kinds, by which rows are counted.
    pub fn kinds(self) -> impl Iterator<Item = &'static str> {
        let surrogates = (self.surrogates > 0).then_some("with halves of surrogate pairs, read as U+FFFD");
        let numbers = (self.numbers > 0).then_some("with NaN or infinities, read as null");
        surrogates.into_iter().chain(numbers)
    }
}

/// A line made parseable.
pub(super) struct Mended {
    pub(super) line: Vec<u8>,
    surrogate: char,
    number: char,
    /// Where it grew, by two bytes each.
    longer: Vec<usize>,
}

/// `line` with stand-ins; `None` if it has nothing of the kind.
pub(super) fn mend(line: &[u8]) -> Option<Mended> {
    let mut free = STAND_INS.filter(|character| !holds(line, *character));
    let (surrogate, number) = (free.next()?, free.next()?);
    let mut mended = Mended {
        line: Vec::with_capacity(line.len() + 16),
        surrogate,
        number,
        longer: Vec::new(),
    };
    let mut changed = false;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        let rest = line.get(at..).unwrap_or_default();
        at += match byte {
            b'"' => mended.string(rest, &mut changed),
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => mended.word(rest, &mut changed),
            _ => {
                mended.line.push(*byte);
                1
            }
        };
    }
    changed.then_some(mended)
}

/// Whether a character is in a line, as itself or escaped.
fn holds(line: &[u8], character: char) -> bool {
    let escaped = format!("\\u{:04x}", u32::from(character));
    let mut windows = line.windows(escaped.len());
    memchr::memmem::find(line, character.to_string().as_bytes()).is_some()
        || windows.any(|part| part.eq_ignore_ascii_case(escaped.as_bytes()))
}

impl Mended {
    /// Copies a string, with a stand-in for each half of a pair; returns its length.
    fn string(&mut self, rest: &[u8], changed: &mut bool) -> usize {
        self.line.push(b'"');
        let mut at = 1;
        while let Some(byte) = rest.get(at) {
            let left = rest.get(at..).unwrap_or_default();
            let taken = match (byte, unit(left)) {
                (b'"', _) => {
                    self.line.push(b'"');
                    return at + 1;
                }
                (_, Some(0xd800..0xdc00)) if is_low(left.get(6..).and_then(unit)) => 12,
                (_, Some(0xd800..0xe000)) => {
                    let escaped = format!("\\u{:04x}", u32::from(self.surrogate));
                    self.line.extend_from_slice(escaped.as_bytes());
                    *changed = true;
                    at += 6;
                    continue;
                }
                (b'\\', _) => 2,
                _ => 1,
            };
            let taken = taken.min(left.len());
            self.line.extend_from_slice(left.get(..taken).unwrap_or_default());
            at += taken;
        }
        at
    }

    /// Copies a word or a number, or writes a stand-in; returns its length.
    fn word(&mut self, rest: &[u8], changed: &mut bool) -> usize {
        let is_part = |byte: &&u8| matches!(byte, b'+' | b'-' | b'.') || byte.is_ascii_alphanumeric();
        let length = rest.iter().take_while(is_part).count().max(1);
        let word = rest.get(..length).unwrap_or_default();
        let behind = rest.get(length..).unwrap_or_default().trim_ascii_start();
        // As a key it is invalid in Python too.
        if !has_no_json_form(word) || behind.starts_with(b":") {
            self.line.extend_from_slice(word);
            return length;
        }
        *changed = true;
        let start = self.line.len();
        self.line.push(b'"');
        self.line.extend_from_slice(self.number.to_string().as_bytes());
        self.line.push(b'"');
        if self.line.len() > start + length {
            self.longer.push(start);
        }
        // As long as before, so that the columns of messages stay right.
        self.line.resize(self.line.len().max(start + length), b' ');
        length
    }

    /// The column, from 1, in the original line.
    pub(super) fn column(&self, column: usize) -> usize {
        let grown = self.longer.iter().filter(|start| **start + 3 < column).count();
        column.saturating_sub(2 * grown).max(1)
    }

    /// Whether a string is the stand-in of a number.
    pub(super) fn is_number(&self, text: &str) -> bool {
        text.chars().eq([self.number])
    }

    /// A text with U+FFFD for halves of pairs, and their number.
    pub(super) fn text(&self, text: &str) -> (String, u64) {
        let halves = text.matches(self.surrogate).count() as u64;
        (text.replace(self.surrogate, "\u{fffd}"), halves)
    }

    /// A value with U+FFFD for halves of pairs and null for stand-ins of numbers.
    pub(super) fn value(&self, value: Value, replaced: &mut Replaced) -> Value {
        match value {
            Value::String(text) if self.is_number(&text) => {
                replaced.numbers += 1;
                Value::Null
            }
            Value::String(text) => {
                let (text, halves) = self.text(&text);
                replaced.surrogates += halves;
                Value::String(text)
            }
            Value::Array(items) => items.into_iter().map(|item| self.value(item, replaced)).collect(),
            Value::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (key, field) in fields {
                    let (key, halves) = self.text(&key);
                    replaced.surrogates += halves;
                    object.insert(key, self.value(field, replaced));
                }
                Value::Object(object)
            }
            other => other,
        }
    }
}

/// The UTF-16 unit that `text` begins with, if it begins with an escaped one.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let mut digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
    digits.try_fold(0, |unit, digit| Some(16 * unit + digit?))
}

fn is_low(unit: Option<u32>) -> bool {
    matches!(unit, Some(0xdc00..0xe000))
}

fn has_no_json_form(word: &[u8]) -> bool {
    match word {
        b"NaN" | b"Infinity" | b"-Infinity" => true,
        [b'-' | b'0'..=b'9', ..] => {
            let number = std::str::from_utf8(word).ok();
            // `inf` and the like, which `f64` reads too, begin with a letter.
            number.is_some_and(|number| {
                number.ends_with(|last: char| last.is_ascii_digit())
                    && number.parse().is_ok_and(f64::is_infinite)
            })
        }
        _ => false,
    }
}

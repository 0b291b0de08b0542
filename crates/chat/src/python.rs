//! Python's `str`, `repr` and `json.dumps`.
//!
//! Chat templates are written for Jinja2, where `{{ value }}` is `str` and `tojson` is `json.dumps`. Models are trained on
//! their output, so a different space or quote is a different token.

use std::fmt::Write;
use std::sync::LazyLock;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use regex::Regex;

/// Characters that `repr` writes as escapes: Unicode's "other" and "separator", the plain space apart.
/// Source: Python's `str.isprintable`.
static UNPRINTABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{C}\p{Z}&&[^ ]]").ok());

/// `str(value)`: what `{{ value }}` prints.
pub(crate) fn str(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().map(str::to_owned).unwrap_or_default(),
        ValueKind::Undefined => String::new(),
        _ => repr(value),
    }
}

/// `repr(value)`: what a value looks like inside a printed list.
fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(&mut out, value);
    out
}

fn write_repr(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Number => write_number(out, value, ["nan", "inf", "-inf"]),
        ValueKind::String => write_repr_str(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let [open, close] = if value.is_tuple() { ['(', ')'] } else { ['[', ']'] };
            out.push(open);
            let items: Vec<Value> = value.try_iter().into_iter().flatten().collect();
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_repr(out, item);
            }
            out.push_str(if value.is_tuple() && items.len() == 1 {
                ","
            } else {
                ""
            });
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_repr(out, &key);
                out.push_str(": ");
                write_repr(out, &value.get_item(&key).unwrap_or_default());
            }
            out.push('}');
        }
        // `None`, `True` and `False`; and what has no spelling of its own in Python.
        _ => drop(write!(out, "{value}")),
    }
}

fn write_repr_str(out: &mut String, text: &str) {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => out.extend(['\\', quote]),
            ' '..='~' => out.push(character),
            _ if is_printable(character) => out.push(character),
            _ => drop(match character as u32 {
                code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                code @ 0x100..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
}

fn is_printable(character: char) -> bool {
    let text = character.to_string();
    UNPRINTABLE
        .as_ref()
        .is_none_or(|unprintable| !unprintable.is_match(&text))
}

/// A number; `names` are those of "not a number" and the infinities.
fn write_number(out: &mut String, value: &Value, names: [&str; 3]) {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => out.push_str(&float_text(float, names)),
        _ => drop(write!(out, "{value}")),
    }
}

/// The shortest decimal that reads back as `float`, with an exponent where Python writes one: below 1e-4 and
/// from 1e16. Source: `float_repr_style` "short", `PyOS_double_to_string` with format code `r`.
fn float_text(float: f64, [nan, infinity, negative_infinity]: [&str; 3]) -> String {
    if float.is_nan() {
        return nan.to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { infinity } else { negative_infinity }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if float != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{float:?}"),
    }
}

/// The options of `json.dumps`.
#[derive(Default)]
struct Dumps {
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

/// The filter `tojson(value, ensure_ascii=false, indent=none, separators=none, sort_keys=false)` of
/// transformers: `json.dumps` without the escapes for HTML that Jinja's own filter adds.
pub(crate) fn tojson(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let argument = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let named: Option<Value> = named.get(name)?;
        Ok(named
            .or_else(|| positional.get(index).cloned())
            .filter(|value| !value.is_none()))
    };
    let truth = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let ensure_ascii = truth(argument(0, "ensure_ascii")?);
    let indent = argument(1, "indent")?.map(|indent| match indent.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(indent.as_usize().unwrap_or(0)),
    });
    let separators = argument(2, "separators")?;
    let sort_keys = truth(argument(3, "sort_keys")?);
    named.assert_all_used()?;

    let (item, key) = match separators {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(pair) => match pair.try_iter()?.collect::<Vec<_>>().as_slice() {
            [item, key] => (str(item), str(key)),
            _ => {
                let problem = "tojson: separators must be a pair, as in (',', ': ')";
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
        },
    };
    let dumps = Dumps {
        ensure_ascii,
        indent,
        item,
        key,
        sort_keys,
    };
    dumps.text(value)
}

/// `json.dumps(value, ensure_ascii=False)`.
pub(crate) fn dumps(value: &Value) -> Result<String, Error> {
    let dumps = Dumps {
        item: ", ".to_owned(),
        key: ": ".to_owned(),
        ..Dumps::default()
    };
    dumps.text(value)
}

impl Dumps {
    fn text(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(&mut out, value, 0)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None | ValueKind::Bool | ValueKind::Number => out.push_str(&scalar(value)?),
            ValueKind::String => self.write_str(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.write_items(out, ['[', ']'], items, depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()? {
                    items.push((Some(scalar(&key)?), value.get_item(&key)?));
                }
                if self.sort_keys {
                    items.sort_by(|(one, _), (other, _)| one.cmp(other));
                }
                self.write_items(out, ['{', '}'], items, depth)?;
            }
            other => return Err(unserializable(&other.to_string())),
        }
        Ok(())
    }

    fn write_items(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        items: Vec<(Option<String>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        let break_line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        out.push(open);
        let empty = items.is_empty();
        for (index, (key, value)) in items.into_iter().enumerate() {
            out.push_str(if index == 0 { "" } else { &self.item });
            break_line(out, depth + 1);
            if let Some(key) = key {
                self.write_str(out, &key);
                out.push_str(&self.key);
            }
            self.write(out, &value, depth + 1)?;
        }
        if !empty {
            break_line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn write_str(&self, out: &mut String, text: &str) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                control if control < ' ' => drop(write!(out, "\\u{:04x}", control as u32)),
                wide if self.ensure_ascii && wide > '~' => {
                    for unit in wide.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                plain => out.push(plain),
            }
        }
        out.push('"');
    }
}

/// A scalar as JSON writes it, without quotes; as a key of an object it becomes a string.
fn scalar(key: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match key.kind() {
        ValueKind::String => text.push_str(key.as_str().unwrap_or_default()),
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if key.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(&mut text, key, ["NaN", "Infinity", "-Infinity"]),
        other => return Err(unserializable(&format!("{other} as a key"))),
    }
    Ok(text)
}

fn unserializable(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("tojson: {what} has no JSON form"),
    )
}

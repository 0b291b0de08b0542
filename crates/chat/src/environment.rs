//! Jinja as configured by transformers: the filters, functions and printing that chat templates rely on.
//!
//! minijinja is close to Jinja2. The differences that matter to templates are handled here: numbers and strings in printed
//! lists, `tojson` without escapes for HTML, Python's notion of a sequence in tests, and the methods of Python's `str`,
//! `list` and `dict`.
//!
//! Remaining differences: iterating over `none` gives nothing where Python fails, `mapping.items` without a call
//! is the key and not the method, `'…' % values` and the rarer filters and globals (`truncate`, `wordcount`,
//! `cycler`, `joiner`) are errors.
//! Source: `_compile_jinja_template` in transformers' `chat_template_utils.py`.

use std::fmt::{self, Write};

use chrono::NaiveDate;
use chrono::format::{Item, StrftimeItems};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};

use crate::generation::{FUNCTION, Markers};
use crate::{methods, python};

/// The message of `raise_exception`, to distinguish it from other failures.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// An environment without templates.
pub(crate) fn environment(markers: Markers) -> Environment<'static> {
    let mut environment = Environment::new();
    // With the default delimiters this cannot fail.
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
    {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(|out, _state, value| match value.as_str() {
        Some(text) => Ok(out.write_str(text)?),
        None => Ok(out.write_str(&python::str(value))?),
    });
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", |value: &Value| python::str(value));
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("raise_exception", raise_exception);
    mark_with(&mut environment, markers);
    environment
}

/// Has generation blocks marked with `markers`.
pub(crate) fn mark_with(environment: &mut Environment<'static>, markers: Markers) {
    let block = move |state: &mut State<'_, '_>, named: Kwargs| -> Result<String, Error> {
        let body = named.get::<Value>("caller")?.call(state, &[])?;
        Ok(format!("{}{body}{}", markers.open, markers.close))
    };
    environment.add_function(FUNCTION, block);
}

/// `strftime_now` for one rendering.
pub(crate) fn strftime_now(date: Option<NaiveDate>) -> Value {
    Value::from_function(move |format: &str| strftime(date, format))
}

fn strftime(date: Option<NaiveDate>, format: &str) -> Result<String, Error> {
    let failed = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    let date = date.ok_or_else(|| {
        failed(
            "the template prints the date, and none is set; write date = \"2025-07-08\", or another day, so that all runs \
             print the same"
                .into(),
        )
    })?;
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        return Err(failed(format!(
            "strftime_now: `{format}` is not a format of strftime"
        )));
    }
    let mut text = String::new();
    // Midnight without a time zone; no template prints the time.
    let midnight = date.and_time(chrono::NaiveTime::MIN);
    write!(text, "{}", midnight.format_with_items(items.iter()))
        .map_err(|_| failed(format!("strftime_now: `{format}` asks for more than a date")))?;
    Ok(text)
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = python::str(message);
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// Jinja2 asks for a length and items: strings, mappings and ranges have both.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    is_sequence(value) || value.kind() == ValueKind::Iterable
}

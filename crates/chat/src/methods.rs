//! Methods of Python's values that templates call and minijinja lacks.
//!
//! Most come from `minijinja-contrib`; here are the others that templates use to split answers, such as
//! `content.rpartition('</think>')`.

use minijinja::value::{Tuple, Value, from_args};
use minijinja::{Error, ErrorKind, State};

/// The value of `value.method(args)`.
pub(crate) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let own = match value.as_str() {
        Some(text) => of_string(text, method, args)?,
        None if method == "index" && value.len().is_some() => Some(index_in_list(value, args)?),
        None => None,
    };
    match own {
        Some(result) => Ok(result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn of_string(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let separator = || -> Result<&str, Error> {
        let (separator,): (&str,) = from_args(args)?;
        match separator.is_empty() {
            true => Err(failed(format!("{method}: the separator is empty"))),
            false => Ok(separator),
        }
    };
    let triple = |parts: [&str; 3]| Value::from(Tuple::from(parts.map(Value::from)));
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let separator = separator()?;
            let parts = text.split_once(separator);
            triple(parts.map_or([text, "", ""], |(before, after)| [before, separator, after]))
        }
        "rpartition" => {
            let separator = separator()?;
            let parts = text.rsplit_once(separator);
            triple(parts.map_or(["", "", text], |(before, after)| [before, separator, after]))
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(text, separator, most.and_then(|most| usize::try_from(most).ok()))?
        }
        "index" => {
            let (part,): (&str,) = from_args(args)?;
            let found = text.split_once(part);
            let (before, _) = found.ok_or_else(|| failed("index: substring not found".into()))?;
            Value::from(before.chars().count())
        }
        _ => return Ok(None),
    }))
}

/// `text.rsplit(separator, most)`; without a separator, at white space.
fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(failed("rsplit: the separator is empty".into())),
        Some(separator) => text.rsplitn(pieces, separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let cut = rest
                    .rfind(char::is_whitespace)
                    .filter(|_| parts.len() + 1 < pieces);
                let (before, word) = rest.split_at(cut.unwrap_or(0));
                parts.push(if cut.is_some() { word.trim_start() } else { word });
                rest = before.trim_end();
            }
            parts
        }
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

fn index_in_list(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (Value,) = from_args(args)?;
    let at = list.try_iter()?.position(|item| item == wanted);
    at.map(Value::from)
        .ok_or_else(|| failed("index: the value is not in the list".into()))
}

fn failed(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

//! `--set key=value`: overriding one value of a recipe.
//!
//! The key is the dotted path that errors print; elements of arrays go by their `name`
//! (`stage.pretrain.phase.phase-1.until`). The value is TOML; a word that is not TOML is a string, so
//! that `--set run.backend=tch` and `--set stage.pretrain.schedule.warmup="2000 steps"` need no second quotes.

use toml::{Table, Value};

use crate::document::Document;
use crate::error::RecipeError;
use crate::key_path::KeyPath;
use crate::section::unknown;

/// Applies `text` (`key=value`) to the document.
pub(crate) fn apply(document: &mut Document, text: &str) -> Result<(), RecipeError> {
    let refuse = |message: String| RecipeError::Override {
        text: text.to_owned(),
        message,
    };
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| refuse("there is no `=`; write --set key=value".to_owned()))?;
    let names = dotted(key).ok_or_else(|| {
        refuse(format!(
            "`{}` is not a dotted key; write one such as run.seed",
            key.trim()
        ))
    })?;
    let path = resolve(&document.tree, &names).map_err(refuse)?;
    document.set(path, value_of(value), text)
}

/// The parts of a dotted TOML key.
fn dotted(key: &str) -> Option<Vec<String>> {
    if key.contains('\n') {
        return None;
    }
    let mut table = format!("{key} = 0").parse::<Table>().ok()?;
    let mut names = Vec::new();
    loop {
        let (name, value) = table.into_iter().next()?;
        names.push(name);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(names),
        }
    }
}

/// `text` as TOML, else as a string.
fn value_of(text: &str) -> Value {
    let text = text.trim();
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The path in `tree` that `names` lead to. Keys may be new; elements of arrays must exist.
fn resolve(tree: &Table, names: &[String]) -> Result<KeyPath, String> {
    let mut path = KeyPath::default();
    for name in names {
        path = match path.find(tree) {
            Some(Value::Array(elements)) => {
                let name_of =
                    |element: &'_ Value| element.get("name").and_then(Value::as_str).map(str::to_owned);
                let known: Vec<String> = elements.iter().filter_map(name_of).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let index = elements
                    .iter()
                    .position(|element| name_of(element).as_ref() == Some(name))
                    .ok_or_else(|| unknown("name", name, &known))?;
                path.index(index)
            }
            _ => path.key(name),
        };
    }
    Ok(path)
}

//! Reading typed values out of a [`Document`], with errors that name the key, its place and a likely spelling.
//!
//! Plain structs are read by serde with `deny_unknown_fields`. Where the other keys of a table, or their defaults, depend on
//! one (`kind`), keys are taken out one by one: serde's own tagged enums lose the path of an error inside them.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::document::Document;
use crate::error::{Problem, RecipeError};
use crate::key_path::{KeyPath, Part};

/// A table of the recipe from which keys are taken one by one.
#[derive(Debug)]
pub(crate) struct Section<'d> {
    document: &'d Document,
    path: KeyPath,
    table: Table,
    /// Keys that were read, as suggestions for unknown ones.
    asked: Vec<String>,
}

impl<'d> Section<'d> {
    pub(crate) fn root(document: &'d Document) -> Self {
        Self {
            document,
            path: KeyPath::default(),
            table: document.tree.clone(),
            asked: Vec::new(),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.push(key.to_owned());
        self.table.remove(key)
    }

    /// The error for a missing or misspelt key.
    fn missing(&self, key: &str, example: &str) -> RecipeError {
        let is_close = |other: &&String| strsim::damerau_levenshtein(key, other) <= (key.len() / 4).max(1);
        match self.table.keys().find(is_close) {
            Some(other) => self.error(other, unknown("key", other, &[key])),
            None => self.error("", format!("`{key}` is missing; write {example}")),
        }
    }

    /// The error for a problem with `key` of this table, or with the table itself when `key` is empty.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> RecipeError {
        self.problem(Problem::at(key, message))
    }

    /// The error for a problem below this table.
    pub(crate) fn problem(&self, problem: Problem) -> RecipeError {
        self.document.error(problem.under(self.path.clone()))
    }

    /// The error for a problem at the dotted path `keys` below this table.
    pub(crate) fn error_at(&self, keys: &[&str], message: impl Into<String>) -> RecipeError {
        let path = keys.iter().fold(KeyPath::default(), |path, key| path.key(key));
        self.problem(Problem::at("", message).under(path))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of `key`, if it is there.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, RecipeError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => read(self.document, self.path.clone().key(key), value, &[]).map(Some),
        }
    }

    /// The value of `key`, or its default.
    pub(crate) fn or_default<T: DeserializeOwned + Default>(&mut self, key: &str) -> Result<T, RecipeError> {
        self.optional(key).map(Option::unwrap_or_default)
    }

    /// Adds the keys of `usual` that the table `key` lacks, if it is written.
    pub(crate) fn complete(&mut self, key: &str, usual: Table) {
        if let Some(Value::Table(table)) = self.table.get_mut(key) {
            for (name, value) in usual {
                table.entry(name).or_insert(value);
            }
        }
    }

    /// The value of `key`; `example` is what an error says to write when it is missing.
    pub(crate) fn required<T: DeserializeOwned>(
        &mut self,
        key: &str,
        example: &str,
    ) -> Result<T, RecipeError> {
        match self.optional(key)? {
            Some(value) => Ok(value),
            None => Err(self.missing(key, example)),
        }
    }

    /// The table `key`; an absent one is read as empty, so that errors name its missing keys.
    pub(crate) fn section(&mut self, key: &str) -> Result<Section<'d>, RecipeError> {
        let value = self.take(key).unwrap_or_else(|| Value::Table(Table::new()));
        self.child(self.path.clone().key(key), value, &format!("[{key}]"))
    }

    /// The tables of `[[key]]`, in order.
    pub(crate) fn sections(&mut self, key: &str) -> Result<Vec<Section<'d>>, RecipeError> {
        let header = format!("[[{key}]]");
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let path = |index| self.path.clone().key(key).index(index);
                let values = values.into_iter().enumerate();
                values
                    .map(|(index, value)| self.child(path(index), value, &header))
                    .collect()
            }
            Some(other) => Err(self.error(key, not_a_table(&other, &header))),
        }
    }

    /// The tables of `[key.NAME]`, in the order in which they are written.
    pub(crate) fn named_sections(&mut self, key: &str) -> Result<Vec<(String, Section<'d>)>, RecipeError> {
        let parent = self.section(key)?;
        let child = |(name, value): (String, Value)| {
            let (path, header) = (parent.path.clone().key(&name), format!("[{key}.{name}]"));
            self.child(path, value, &header).map(|child| (name, child))
        };
        parent.table.into_iter().map(child).collect()
    }

    fn child(&self, path: KeyPath, value: Value, header: &str) -> Result<Section<'d>, RecipeError> {
        match value {
            Value::Table(table) => Ok(Section {
                document: self.document,
                path,
                table,
                asked: Vec::new(),
            }),
            other => {
                let message = not_a_table(&other, header);
                Err(self.document.error(Problem { path, message }))
            }
        }
    }

    /// All remaining keys, as one struct.
    pub(crate) fn rest<T: DeserializeOwned>(&mut self) -> Result<T, RecipeError> {
        let table = std::mem::take(&mut self.table);
        read(self.document, self.path.clone(), Value::Table(table), &self.asked)
    }

    /// Refuses remaining keys.
    pub(crate) fn finish(&self) -> Result<(), RecipeError> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => {
                let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
                Err(self.error(key, unknown("key", key, &known)))
            }
        }
    }
}

fn not_a_table(value: &Value, header: &str) -> String {
    format!("this is of type {}; write a table {header}", value.type_str())
}

/// Reads the `value` at `path` by serde; `siblings` are further keys that its table may have.
fn read<T: DeserializeOwned>(
    document: &Document,
    path: KeyPath,
    value: Value,
    siblings: &[String],
) -> Result<T, RecipeError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = KeyPath::from(error.path());
        let problem = rephrase(inner, error.inner().message(), siblings);
        document.error(problem.under(path))
    })
}

/// Turns serde's message about a value at `path` into a sentence that says what to write.
fn rephrase(path: KeyPath, message: &str, siblings: &[String]) -> Problem {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((key, known)) if message.starts_with("unknown field") => {
            let at = match path.parts().last() {
                Some(Part::Key(last)) if last == key => path,
                _ => path.key(key),
            };
            let mut known = known.to_vec();
            if at.parts().len() == 1 {
                known.extend(siblings.iter().map(String::as_str));
            }
            Problem {
                path: at,
                message: unknown("key", key, &known),
            }
        }
        Some((name, known)) if message.starts_with("unknown variant") => Problem {
            path,
            message: unknown("name", name, known),
        },
        Some((key, _)) if message.starts_with("missing field") => Problem {
            path,
            message: format!("`{key}` is missing; add it to this table"),
        },
        _ => Problem {
            path,
            message: wrong_type(message).unwrap_or_else(|| message.to_owned()),
        },
    }
}

/// `invalid type: string "abc", expected u64` in the words of recipes, without Rust's type names.
fn wrong_type(message: &str) -> Option<String> {
    let found = ["invalid type: ", "invalid value: ", "invalid length "]
        .iter()
        .find_map(|start| message.strip_prefix(start))?;
    let (found, expected) = found.rsplit_once(", expected ")?;
    let wanted = match expected {
        "u64" | "u32" | "usize" => "a whole number that is not negative",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "a string",
        "a sequence" => "a list",
        "an array of length 2" => "a list of two numbers",
        table if table.starts_with("struct ") || table == "a map" => "a table",
        other => other,
    };
    Some(format!(
        "{} is not allowed here; write {wanted}",
        found.replace('`', "")
    ))
}

/// The message for an unknown `name`: the known one that it misspells, or all of them.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let close = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, known)| *distance <= 1 + known.len().min(name.len()) / 4)
        .min();
    match close {
        Some((_, close)) => format!("unknown {what} `{name}`; did you mean `{close}`?"),
        None if known.is_empty() => format!("unknown {what} `{name}`; remove it"),
        None => format!("unknown {what} `{name}`; write one of `{}`", known.join("`, `")),
    }
}

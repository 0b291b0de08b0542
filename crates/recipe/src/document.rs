//! The files of a recipe, read into one tree that remembers where each value came from.
//!
//! A mixture, the conversations of a stage, the sources and the architecture may have files of their own. These replace
//! their file names in the tree before anything is interpreted, so that `--set` reaches into them, the fingerprint does not
//! depend on how a recipe is split, and one pass reads it all. A line is looked up in the text only when an error needs it:
//! plain TOML values keep no positions, and positions would be in the way of overrides.

use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::error::{KeyLocation, Problem, RecipeError};
use crate::key_path::{KeyPath, Part};

/// A recipe as one tree of TOML values.
#[derive(Debug)]
pub(crate) struct Document {
    /// The folder of the recipe; its file names are relative to it.
    pub(crate) directory: PathBuf,
    pub(crate) tree: Table,
    files: Vec<File>,
    origins: Vec<(KeyPath, Origin)>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
}

/// Where the values below a path come from.
#[derive(Debug, Clone)]
enum Origin {
    /// This file, below this path in it.
    File(usize, KeyPath),
    Override(String),
}

impl Document {
    /// Reads `recipe.toml` in the folder `path`, or the file `path`, and the files that it names.
    pub(crate) fn load(path: &Path) -> Result<Self, RecipeError> {
        let file = if path.is_dir() {
            path.join("recipe.toml")
        } else {
            path.to_owned()
        };
        let directory = file.parent().map(Path::to_owned).unwrap_or_default();
        let mut document = Self {
            directory,
            tree: Table::new(),
            files: Vec::new(),
            origins: vec![(KeyPath::default(), Origin::File(0, KeyPath::default()))],
        };
        (document.tree, _) = document.read(file, "the recipe")?;
        document.include()?;
        Ok(document)
    }

    fn read(&mut self, path: PathBuf, what: &'static str) -> Result<(Table, usize), RecipeError> {
        let text = fs::read_to_string(&path).map_err(|source| RecipeError::Read {
            path: path.clone(),
            what,
            source,
        })?;
        let tree = text.parse::<Table>().map_err(|error| RecipeError::Syntax {
            line: error.span().map_or(1, |span| line_of(&text, span.start)),
            message: error.message().to_owned(),
            path: path.clone(),
        })?;
        self.files.push(File { path, text });
        Ok((tree, self.files.len() - 1))
    }

    /// Replaces file names in the tree by the contents of the files.
    fn include(&mut self) -> Result<(), RecipeError> {
        self.include_sources()?;
        self.include_table(KeyPath::default().key("model").key("config"), "the architecture")?;
        let phases = |stage: &Value| stage.get("phase").and_then(Value::as_array).map_or(0, Vec::len);
        let stages: Vec<usize> = match self.tree.get("stage").and_then(Value::as_array) {
            Some(stages) => stages.iter().map(phases).collect(),
            None => Vec::new(),
        };
        for (stage, phases) in stages.into_iter().enumerate() {
            let stage = KeyPath::default().key("stage").index(stage);
            self.include_conversations(stage.clone().key("data"))?;
            for phase in 0..phases {
                let phase = stage.clone().key("phase").index(phase);
                self.include_table(phase.key("mixture"), "the mixture")?;
            }
        }
        Ok(())
    }

    /// `data.sources = "file"`: the file's `[source.NAME]` tables join those of the recipe.
    fn include_sources(&mut self) -> Result<(), RecipeError> {
        let at = KeyPath::default().key("data").key("sources");
        let Some(Value::String(name)) = at.find(&self.tree) else {
            return Ok(());
        };
        let (table, id) = self.read(self.directory.join(name), "the sources")?;
        let root = KeyPath::default();
        for (key, value) in table {
            let sources = match value {
                Value::Table(sources) if key == "source" => sources,
                _ => {
                    return Err(key_error(
                        self.place_in(id, &root.clone().key(&key)),
                        &key,
                        SOURCES_FILE,
                    ));
                }
            };
            for (name, source) in sources {
                let path = root.clone().key("source").key(&name);
                if path.find(&self.tree).is_some() {
                    let message = "the recipe has this source too; keep one of the two";
                    return Err(key_error(self.place_in(id, &path), &path.to_string(), message));
                }
                insert(&mut self.tree, path.parts(), source);
                self.origins.push((path.clone(), Origin::File(id, path)));
            }
        }
        if let Some(Value::Table(data)) = self.tree.get_mut("data") {
            data.remove("sources");
        }
        Ok(())
    }

    /// A file name at `at` is replaced by the `[[data]]` tables in that file.
    fn include_conversations(&mut self, at: KeyPath) -> Result<(), RecipeError> {
        let Some(Value::String(name)) = at.find(&self.tree) else {
            return Ok(());
        };
        let (mut table, id) = self.read(self.directory.join(name), "the conversations")?;
        let data = KeyPath::default().key("data");
        if let Some(key) = table.keys().find(|key| *key != "data") {
            let place = self.place_in(id, &KeyPath::default().key(key));
            return Err(key_error(place, key, CONVERSATIONS_FILE));
        }
        let Some(list @ Value::Array(_)) = table.remove("data") else {
            return Err(key_error(self.place_in(id, &data), "data", CONVERSATIONS_FILE));
        };
        insert(&mut self.tree, at.parts(), list);
        self.origins.push((at, Origin::File(id, data)));
        Ok(())
    }

    /// A file name at `at` is replaced by the table in that file. A `.json` stays a name.
    fn include_table(&mut self, at: KeyPath, what: &'static str) -> Result<(), RecipeError> {
        let Some(Value::String(name)) = at.find(&self.tree) else {
            return Ok(());
        };
        if name.ends_with(".json") {
            return Ok(());
        }
        let (table, id) = self.read(self.directory.join(name), what)?;
        insert(&mut self.tree, at.parts(), Value::Table(table));
        self.origins.push((at, Origin::File(id, KeyPath::default())));
        Ok(())
    }

    /// Applies the override `text`: puts `value` at `path`, creating tables on the way.
    pub(crate) fn set(&mut self, path: KeyPath, value: Value, text: &str) -> Result<(), RecipeError> {
        if !insert(&mut self.tree, path.parts(), value) {
            return Err(RecipeError::Override {
                text: text.to_owned(),
                message: format!("`{path}` is below a value that is not a table; name a key of the recipe"),
            });
        }
        self.origins.push((path, Origin::Override(text.to_owned())));
        self.include()
    }

    /// The error for a problem at `problem.path`.
    pub(crate) fn error(&self, problem: Problem) -> RecipeError {
        RecipeError::Key {
            place: self.place(&problem.path),
            key: problem.path.named(&self.tree),
            message: problem.message,
        }
    }

    /// The file included at `path`, unless an override changed something in it.
    pub(crate) fn included_file(&self, path: &KeyPath) -> Option<&Path> {
        let overridden = |(at, origin): &(KeyPath, Origin)| {
            matches!(origin, Origin::Override(_))
                && at.below(path).is_some_and(|rest| !rest.parts().is_empty())
        };
        if self.origins.iter().any(overridden) {
            return None;
        }
        match self.origin(path) {
            Some((Origin::File(id, inner), rest)) if rest.parts().is_empty() && inner.parts().is_empty() => {
                self.files.get(*id).map(|file| file.path.as_path())
            }
            _ => None,
        }
    }

    fn place(&self, path: &KeyPath) -> KeyLocation {
        match self.origin(path) {
            Some((Origin::File(id, inner), rest)) => self.place_in(*id, &inner.clone().join(&rest)),
            Some((Origin::Override(text), _)) => KeyLocation::Override(text.clone()),
            None => KeyLocation::File {
                path: self.directory.join("recipe.toml"),
                line: None,
            },
        }
    }

    /// The nearest recorded origin of `path`, the latest of several equally near.
    fn origin(&self, path: &KeyPath) -> Option<(&Origin, KeyPath)> {
        self.origins
            .iter()
            .filter_map(|(at, origin)| path.below(at).map(|rest| (origin, rest)))
            .rev()
            .min_by_key(|(_, rest)| rest.parts().len())
    }

    fn place_in(&self, file: usize, path: &KeyPath) -> KeyLocation {
        let file = &self.files[file];
        KeyLocation::File {
            path: file.path.clone(),
            line: find_line(&file.text, path),
        }
    }
}

const SOURCES_FILE: &str = "a file of sources holds [source.NAME] tables and nothing else";

const CONVERSATIONS_FILE: &str =
    "a file of conversations holds [[data]] tables with a name and paths, and nothing else";

fn key_error(place: KeyLocation, key: &str, message: &str) -> RecipeError {
    RecipeError::Key {
        place,
        key: key.to_owned(),
        message: message.to_owned(),
    }
}

/// Puts `new` at `parts` below `table`, creating tables as needed; false if a value on the way is not a table.
fn insert(table: &mut Table, parts: &[Part], new: Value) -> bool {
    let Some((Part::Key(first), rest)) = parts.split_first() else {
        return false;
    };
    let empty = || Value::Table(Table::new());
    let mut value = table.entry(first).or_insert_with(empty);
    for part in rest {
        let next = match (part, value) {
            (Part::Key(key), Value::Table(table)) => Some(table.entry(key).or_insert_with(empty)),
            (Part::Index(index), Value::Array(array)) => array.get_mut(*index),
            _ => None,
        };
        let Some(next) = next else { return false };
        value = next;
    }
    *value = new;
    true
}

/// The line, from 1, of the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The line of the key at `path`, or of its nearest parent that has one.
fn find_line(text: &str, path: &KeyPath) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut offset = None;
    let mut table = Some(root.get_ref());
    let mut array: Option<&[Spanned<DeValue<'_>>]> = None;
    for part in path.parts() {
        let value = match part {
            Part::Key(key) => {
                let entry = table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
                entry.map(|(name, value)| (name.span().start, value.get_ref()))
            }
            Part::Index(index) => array
                .and_then(|array| array.get(*index))
                .map(|value| (value.span().start, value.get_ref())),
        };
        let Some((start, value)) = value else { break };
        offset = Some(start);
        table = value.as_table();
        array = value.as_array().map(|array| array.as_ref());
    }
    offset.map(|offset| line_of(text, offset))
}

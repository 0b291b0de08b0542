//! The path of a value inside a TOML document.

use std::fmt;

use toml::{Table, Value};

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Key(String),
    Index(usize),
}

/// The way from the root of a document to a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyPath(Vec<Part>);

impl KeyPath {
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.0.push(Part::Key(key.to_owned()));
        self
    }

    pub(crate) fn index(mut self, index: usize) -> Self {
        self.0.push(Part::Index(index));
        self
    }

    pub(crate) fn join(mut self, rest: &Self) -> Self {
        self.0.extend(rest.0.iter().cloned());
        self
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The rest of this path below `prefix`, if it lies below it.
    pub(crate) fn below(&self, prefix: &Self) -> Option<Self> {
        self.0
            .strip_prefix(prefix.0.as_slice())
            .map(|rest| Self(rest.to_vec()))
    }

    /// The value at this path.
    pub(crate) fn find<'t>(&self, root: &'t Table) -> Option<&'t Value> {
        let (first, rest) = self.0.split_first()?;
        let Part::Key(first) = first else { return None };
        rest.iter().try_fold(root.get(first)?, |value, part| match part {
            Part::Key(key) => value.get(key),
            Part::Index(index) => value.get(index),
        })
    }

    /// The dotted path as `--set` takes it: elements of arrays go by their `name`.
    pub(crate) fn named(&self, root: &Table) -> String {
        let mut named: Vec<String> = Vec::new();
        for (depth, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) => named.push(quoted(key)),
                Part::Index(index) => {
                    let element = Self(self.0.iter().take(depth + 1).cloned().collect());
                    let name = element
                        .find(root)
                        .and_then(|element| element.get("name"))
                        .and_then(Value::as_str);
                    named.push(name.map_or_else(|| index.to_string(), quoted));
                }
            }
        }
        named.join(".")
    }
}

/// The key as written in a dotted path: quoted where TOML requires it.
pub(crate) fn quoted(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(plain) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        Self(
            path.iter()
                .filter_map(|segment| match segment {
                    Segment::Seq { index } => Some(Part::Index(*index)),
                    Segment::Map { key } => Some(Part::Key(key.clone())),
                    Segment::Enum { .. } | Segment::Unknown => None,
                })
                .collect(),
        )
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named(&Table::new()))
    }
}

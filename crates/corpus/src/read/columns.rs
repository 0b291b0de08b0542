//! Selection of columns.

use std::sync::Arc;

/// The columns to read. The others are null in a row, so that messages can name them.
#[derive(Debug, Clone)]
pub enum Columns {
    /// All.
    All,
    /// Those of these names.
    Named(Arc<[String]>),
}

impl Columns {
    /// Those of these names.
    pub fn named<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Columns::Named(names.into_iter().map(Into::into).collect())
    }

    /// Whether `name` is one of them.
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Columns::All => true,
            Columns::Named(names) => names.iter().any(|column| column == name),
        }
    }
}

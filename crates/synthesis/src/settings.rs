//! The settings in the first line of a file of answers.
//!
//! What an answer depends on is separate from circumstances: a server may move and a batch may shrink, but answers at
//! another temperature belong in another file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings of a file of answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What an answer depends on.
    pub settings: BTreeMap<String, Value>,
    /// What may differ in the next call.
    pub circumstances: BTreeMap<String, Value>,
}

impl Settings {
    /// A line for each setting that differs in `there`.
    pub(crate) fn differences(&self, there: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.settings.keys().chain(there.settings.keys()).collect();
        let text =
            |map: &BTreeMap<String, Value>, key| map.get(key).map_or("not set".to_owned(), Value::to_string);
        keys.into_iter()
            .map(|key| (key, text(&self.settings, key), text(&there.settings, key)))
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(key, ours, theirs)| format!("  {key}: {theirs} there, {ours} now"))
            .collect()
    }
}

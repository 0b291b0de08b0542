//! Which files of a repository this project reads.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use smollm3_recipe::{ADAPTER_FOLDER, PEFT_CONFIG, TOKENIZER_FILES};
use smollm3_records::WRITTEN_RECIPE;

pub(crate) const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
const TOOL_TEMPLATE: &str = "additional_chat_templates/tool_use.jinja";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const SINGLE: &str = "model.safetensors";
/// The weights of an adapter.
pub(crate) const ADAPTER: &str = "adapter_model.safetensors";

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// `config.json`.
    pub config: bool,
    /// The tokenizer and chat templates.
    pub tokenizer: bool,
    /// The weights, and `generation_config.json`.
    pub weights: bool,
}

impl Wanted {
    /// `config.json` alone.
    pub const CONFIG: Self = Self {
        config: true,
        tokenizer: false,
        weights: false,
    };
    /// The tokenizer and templates alone.
    pub const TOKENIZER: Self = Self {
        config: false,
        tokenizer: true,
        weights: false,
    };
    /// A model that can be used.
    pub const MODEL: Self = Self {
        config: true,
        tokenizer: true,
        weights: true,
    };

    /// What either wants.
    pub fn or(self, other: Self) -> Self {
        Self {
            config: self.config || other.config,
            tokenizer: self.tokenizer || other.tokenizer,
            weights: self.weights || other.weights,
        }
    }

    /// What both want.
    pub fn and(self, other: Self) -> Self {
        Self {
            config: self.config && other.config,
            tokenizer: self.tokenizer && other.tokenizer,
            weights: self.weights && other.weights,
        }
    }

    /// The files with fixed names, weights apart; a repository has some of them.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.config {
            names.push(CONFIG);
        }
        if self.weights {
            names.push(GENERATION);
        }
        if self.tokenizer {
            names.extend(TOKENIZER_FILES);
            names.push(TOOL_TEMPLATE);
        }
        names
    }
}

/// Whether a file of a repository is one that a checkpoint consists of, or tells how it was made: of two checkpoints' such
/// files no model can be made. Adapters count where transformers looks for them as well as in their folder.
pub(crate) fn is_of_checkpoint(name: &str) -> bool {
    let is_shard = name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors");
    let in_adapter = name
        .strip_prefix(ADAPTER_FOLDER)
        .and_then(|rest| rest.strip_prefix('/'));
    is_shard
        || matches!(name, SINGLE | INDEX | WRITTEN_RECIPE)
        || matches!(in_adapter.unwrap_or(name), PEFT_CONFIG | ADAPTER)
        || Wanted::MODEL.names().contains(&name)
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, Value>,
}

/// The files that `model.safetensors.index.json` names; `None` where it is none, or leads out of its folder.
pub(crate) fn shards(index: &str) -> Option<BTreeSet<String>> {
    let index: Index = serde_json::from_str(index).ok()?;
    let names: Option<BTreeSet<String>> = index
        .weight_map
        .into_values()
        .map(|name| match name {
            Value::String(name) if !name.contains(['/', '\\']) && name.ends_with(".safetensors") => {
                Some(name)
            }
            _ => None,
        })
        .collect();
    names.filter(|names| !names.is_empty())
}

//! The files of a repository that this project reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
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

/// Which files of a model are needed.
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
    /// Tokenizer and templates.
    pub const TOKENIZER: Self = Self {
        config: false,
        tokenizer: true,
        weights: false,
    };
    /// `config.json`, tokenizer and templates.
    pub const TEXT: Self = Self {
        weights: false,
        ..Self::MODEL
    };
    /// A complete model.
    pub const MODEL: Self = Self {
        config: true,
        tokenizer: true,
        weights: true,
    };

    /// The union.
    pub fn or(self, other: Self) -> Self {
        Self {
            config: self.config || other.config,
            tokenizer: self.tokenizer || other.tokenizer,
            weights: self.weights || other.weights,
        }
    }

    /// The intersection.
    pub fn and(self, other: Self) -> Self {
        Self {
            config: self.config && other.config,
            tokenizer: self.tokenizer && other.tokenizer,
            weights: self.weights && other.weights,
        }
    }

    /// The files with fixed names, without the weights. A repository may lack some.
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

/// Whether a file belongs to one checkpoint, as its weights, configuration, tokenizer or recipe do: such files of two
/// checkpoints must not mix. Adapters count in their folder and where transformers looks for them.
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
    weight_map: BTreeMap<String, String>,
}

/// The files that `model.safetensors.index.json` names; `None` if it is malformed or points outside its folder.
pub(crate) fn shards(index: &str) -> Option<BTreeSet<String>> {
    let index: Index = serde_json::from_str(index).ok()?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let is_plain = |name: &String| !name.contains(['/', '\\']) && name.ends_with(".safetensors");
    (!names.is_empty() && names.iter().all(is_plain)).then_some(names)
}

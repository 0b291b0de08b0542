//! `run.push`: uploading checkpoints to the Hub during a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::yes;
use crate::hub_id::HubId;

/// What is uploaded, and where to. It does not change any result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The model on the Hub, `owner/name`; created if there is none.
    #[serde(deserialize_with = "repository")]
    pub repository: String,
    /// When.
    #[serde(default)]
    pub every: PushEvery,
    /// Whether the repository is private; a public one is then refused. By default it is, for the weights are unfinished.
    #[serde(default = "yes")]
    pub private: bool,
}

/// When checkpoints are uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PushEvery {
    /// At the end of each stage: branch `main`, and one with the stage's name.
    #[default]
    Stage,
    /// After each checkpoint: branch `main`, and one called `STAGE-step-N`.
    Checkpoint,
}

impl Push {
    /// A branch of the repository.
    pub fn branch(&self, branch: &str) -> HubId {
        HubId {
            repository: self.repository.clone(),
            revision: branch.to_owned(),
            folder: String::new(),
        }
    }

    /// The branch that keeps a checkpoint once `main` has a newer one.
    pub fn branch_of(&self, stage: &str, step: u64) -> HubId {
        match self.every {
            PushEvery::Stage => self.branch(stage),
            PushEvery::Checkpoint => self.branch(&format!("{stage}-step-{step}")),
        }
    }
}

fn repository<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match HubId::parse(&text) {
        Some(id) if id.repository == text => Ok(text),
        _ => {
            let message = format!("`{text}` is not a model on the Hub; write repository = \"owner/name\"");
            Err(serde::de::Error::custom(message))
        }
    }
}

/// The licence of a model or of data, as the Hub spells it.
pub(crate) fn license<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match is_license(&text) {
        true => Ok(Some(text)),
        false => Err(serde::de::Error::custom(format!(
            "`{text}` is not a licence name on the Hub; write it as \"apache-2.0\", or \"other\""
        ))),
    }
}

/// Whether `text` can be a licence's name on the Hub: lower-case letters, digits, `-` and `.`.
pub fn is_license(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.bytes().all(plain)
}

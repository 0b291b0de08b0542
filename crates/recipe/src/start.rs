//! Where weights come from: random numbers, an earlier stage, a folder, the Hub.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::hub_id::HubId;
use crate::section::unknown;

/// Where a stage takes its weights from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Random initialisation.
    Random,
    /// The last checkpoint of an earlier stage.
    Stage(String),
    /// A checkpoint's folder, relative to the recipe's folder.
    Folder(PathBuf),
    /// A model on the Hub, as it is written.
    Hub(String),
}

impl JsonSchema for Start {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "an earlier stage, a folder or a Hub id" })
    }
}

impl Start {
    /// The recipe's name for a checkpoint outside its run.
    pub fn outside(&self) -> Option<&str> {
        match self {
            Self::Folder(folder) => folder.to_str(),
            Self::Hub(id) => Some(id),
            Self::Random | Self::Stage(_) => None,
        }
    }

    /// An earlier stage's name, a folder (`./`, `../`, `/`), or a model on the Hub ([`HubId`]).
    pub(crate) fn parse(text: &str, earlier: &[String]) -> Result<Self, String> {
        if earlier.iter().any(|stage| stage == text) {
            return Ok(Self::Stage(text.to_owned()));
        }
        Self::checkpoint(text).ok_or_else(|| {
            let names: Vec<&str> = earlier.iter().map(String::as_str).collect();
            format!(
                "{}; {PLACES}",
                unknown("earlier stage", text, &names).trim_end_matches('?')
            )
        })
    }

    /// A folder or a model on the Hub.
    pub(crate) fn checkpoint(text: &str) -> Option<Self> {
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return Some(Self::Folder(PathBuf::from(text)));
        }
        HubId::parse(text).map(|_| Self::Hub(text.to_owned()))
    }
}

/// How to write a checkpoint outside the run, for messages.
pub(crate) const PLACES: &str =
    "a folder begins with `./` or `/`, a Hub id is owner/name or owner/name@revision";

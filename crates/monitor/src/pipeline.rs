//! The stages of a run's recipe, from `recipe.json` in its folder, including those that have not begun.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use smollm3_recipe::Canonical;
use smollm3_records::{Result, read_recipe};

/// A stage as the recipe has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlannedStage {
    /// Its name.
    pub name: String,
    /// The recipe's word for what it does, as `pretrain`.
    pub kind: String,
    /// The stage whose weights it starts from.
    pub from: Option<String>,
    /// Of a merge: the stages, folders and Hub models that it averages, with their weights.
    pub merges: Vec<(String, f64)>,
    /// Steps, where the recipe counts only in steps.
    pub steps: Option<u64>,
    /// Whether its best checkpoint stands for it, in the place of its newest.
    pub loads_best: bool,
}

impl PlannedStage {
    /// What it does, in words.
    pub fn describes(&self) -> &str {
        match self.kind.as_str() {
            "pretrain" => "pretraining",
            "long-context" => "longer context",
            "mid-train" => "mid-training",
            "sft" => "fine-tuning",
            "apo" => "preference training",
            other => other,
        }
    }

    fn parents(&self) -> impl Iterator<Item = &String> {
        self.from.iter().chain(self.merges.iter().map(|(name, _)| name))
    }
}

/// Reads the stages of a run's recipe, ordered so that each follows those that it needs. Empty if the folder has no recipe.
///
/// # Errors
/// What is there cannot be read.
pub(crate) fn read(folder: &Path) -> Result<Vec<PlannedStage>> {
    let recipe = read_recipe(folder)?;
    let stages = recipe.iter().flat_map(Canonical::stages);
    Ok(in_order(stages.map(|(name, keys)| stage(name, &keys)).collect()))
}

fn stage(name: String, keys: &BTreeMap<&str, &Value>) -> PlannedStage {
    let mut stage = PlannedStage {
        name,
        ..PlannedStage::default()
    };
    // By their numbers: as text, 10 sorts before 2.
    let mut merges: BTreeMap<usize, (String, f64)> = BTreeMap::new();
    let mut ends: Vec<Option<u64>> = Vec::new();
    for (key, value) in keys {
        let text = value.as_str().unwrap_or_default();
        match key.split('.').collect::<Vec<_>>().as_slice() {
            ["kind"] => stage.kind = text.to_owned(),
            ["validation", "best"] => stage.loads_best = text == "load",
            ["from", "stage"] => stage.from = Some(text.to_owned()),
            ["model", number, of @ ..] => {
                let merged = merges.entry(number.parse().unwrap_or_default()).or_default();
                match of {
                    ["checkpoint", _] => merged.0 = text.to_owned(),
                    ["weight"] => merged.1 = value.as_f64().unwrap_or_default(),
                    _ => {}
                }
            }
            ["until"] | ["phase", .., "until"] => {
                ends.push(text.strip_suffix(" steps").and_then(|steps| steps.parse().ok()));
            }
            _ => {}
        }
    }
    stage.merges = merges.into_values().collect();
    let steps: Option<Vec<u64>> = ends.into_iter().collect();
    stage.steps = steps.and_then(|steps| steps.into_iter().max());
    stage
}

/// Parents before children, otherwise by name.
fn in_order(mut left: Vec<PlannedStage>) -> Vec<PlannedStage> {
    let mut placed: Vec<PlannedStage> = Vec::new();
    while !left.is_empty() {
        let ready = |stage: &PlannedStage| {
            stage
                .parents()
                .all(|parent| left.iter().all(|other| other.name != *parent))
        };
        // No recipe has a cycle; a damaged file may.
        let next = left.iter().position(ready).unwrap_or(0);
        placed.push(left.remove(next));
    }
    placed
}

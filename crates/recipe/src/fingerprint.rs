//! What makes two runs the same run.
//!
//! The canonical form of a recipe is a flat map from dotted keys to values, with every default filled in and the
//! files it was split into put together; its hash is the fingerprint. Comments, the order of keys and the
//! spelling of numbers are not in it, nor is what cannot change a result: the run's name and output folder, the
//! backend and its device, checkpoints, recomputation, and the micro-batch as long as the loss is averaged over
//! tokens. A run folder keeps the canonical form, so that a refusal can say which keys differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::error::RecipeError;
use crate::recipe::{Model, Recipe};
use crate::run::{Order, Tokenizer};
use crate::stage::Stage;
use crate::training::LossAverage;

/// A key in which two recipes differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The dotted key.
    pub key: String,
    /// Its value here, if it has one.
    pub ours: Option<String>,
    /// Its value in the other recipe, if it has one.
    pub theirs: Option<String>,
}

impl Recipe {
    /// The fingerprint: the blake3 hash, in hex, of the canonical form.
    pub fn fingerprint(&self) -> String {
        blake3::hash(self.canonical().as_bytes()).to_hex().to_string()
    }

    /// The canonical form: one JSON object from dotted keys, sorted, to values.
    pub fn canonical(&self) -> String {
        let mut text = String::from("{\n");
        for (index, (key, value)) in self.flat().iter().enumerate() {
            let comma = if index == 0 { "" } else { ",\n" };
            text.push_str(&format!("{comma}  {}: {value}", Value::from(key.as_str())));
        }
        text.push_str("\n}\n");
        text
    }

    /// The keys in which this recipe differs from the one whose canonical form is given.
    ///
    /// # Errors
    /// `other_canonical` is no canonical form.
    pub fn differences(&self, other_canonical: &str) -> Result<Vec<Difference>, RecipeError> {
        let theirs: BTreeMap<String, Value> =
            serde_json::from_str(other_canonical).map_err(|error| RecipeError::Record(error.to_string()))?;
        let ours = self.flat();
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let text = |map: &BTreeMap<String, Value>, key| map.get(key).map(Value::to_string);
        Ok(keys
            .into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| Difference {
                key: key.clone(),
                ours: text(&ours, key),
                theirs: text(&theirs, key),
            })
            .collect())
    }

    fn flat(&self) -> BTreeMap<String, Value> {
        let used = self.used_sources();
        let sources: Map<String, Value> = self
            .sources
            .iter()
            .filter(|(name, _)| used.contains(name.as_str()))
            .map(|(name, source)| (name.clone(), to_json(source)))
            .collect();
        let stages: Vec<Value> = self.stages.iter().map(|stage| self.stage_json(stage)).collect();
        let tree = json!({
            "run": { "seed": self.run.seed, "precision": self.run.precision },
            "model": match &self.model {
                Model::Config(config) => json!({ "config": config }),
                Model::Checkpoint(start) => json!({ "checkpoint": start }),
            },
            "tokenizer": self.tokenizer,
            "data": self.data,
            "source": sources,
            "stage": stages,
        });
        let mut flat = BTreeMap::new();
        flatten(String::new(), tree, &mut flat);
        flat
    }

    fn stage_json(&self, stage: &Stage) -> Value {
        let mut value = to_json(stage);
        if let (Value::Object(object), Some(training)) = (&mut value, stage.training()) {
            object.remove("checkpoint");
            object.remove("recompute");
            if training.loss.average == LossAverage::Tokens {
                object.remove("micro_batch");
            }
            if self.data.order == Order::Greedy {
                // The greedy blend gives ties to the source that is written first.
                for phase in &training.phases {
                    let names: Vec<&String> = phase.mixture.sources.keys().collect();
                    object.insert(format!("order of {}", phase.name), json!(names));
                }
            }
        }
        value
    }

    /// The sources that can change a result.
    fn used_sources(&self) -> BTreeSet<&str> {
        let phases = self
            .stages
            .iter()
            .filter_map(Stage::training)
            .flat_map(|training| &training.phases);
        let mut used: BTreeSet<&str> = phases
            .flat_map(|phase| phase.mixture.parts())
            .map(|part| part.source.as_str())
            .collect();
        if let Tokenizer::Train(train) = &self.tokenizer {
            if train.sources.is_empty() {
                used.extend(self.sources.keys().map(String::as_str));
            }
            used.extend(train.sources.iter().map(String::as_str));
        }
        used
    }
}

fn to_json(value: impl serde::Serialize) -> Value {
    // Fails only for maps whose keys are no strings, and there are none.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Puts `value` into `flat` under its dotted key; tables of an array are called by their name.
fn flatten(key: String, value: Value, flat: &mut BTreeMap<String, Value>) {
    let below = |name: &str| {
        if key.is_empty() {
            name.to_owned()
        } else {
            format!("{key}.{name}")
        }
    };
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                flatten(below(&name), value, flat);
            }
        }
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            for (index, mut element) in elements.into_iter().enumerate() {
                let name = element.get("name").and_then(Value::as_str).map(str::to_owned);
                if let Value::Object(object) = &mut element {
                    object.remove("name");
                }
                flatten(below(&name.unwrap_or_else(|| index.to_string())), element, flat);
            }
        }
        Value::Null => {}
        plain => {
            flat.insert(key, plain);
        }
    }
}

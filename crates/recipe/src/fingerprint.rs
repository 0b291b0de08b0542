//! The identity of a run: a canonical form of its recipe, and its hash.
//!
//! The canonical form of a recipe is a flat map from dotted keys to values, with every default filled in and the
//! files it was split into put together; its hash is the fingerprint. It leaves out comments, the order of keys and the
//! spelling of numbers, and every setting that changes no result, or changes it by rounding only: the run's name and output
//! folder, the backend, its device and whether it is deterministic, checkpoints, recomputation, and the micro-batch as
//! long as the loss is averaged over tokens. A run folder keeps the canonical form, so that a refusal can name the keys that
//! differ.
//!
//! Each stage has its own, with the stages that it depends on and without those that follow: adding a stage
//! to a recipe does not invalidate stages already trained.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::RecipeError;
use crate::key_path::quoted;
use crate::recipe::{Model, Recipe};
use crate::run::{Order, Tokenizer};
use crate::stage::Stage;
use crate::training::LossAverage;

/// A recipe, or the part of it that a stage depends on, as a flat map. Prints as a JSON object with one line per key, and
/// is read back from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Canonical(BTreeMap<String, Value>);

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

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}\n  {}: {value}", Value::from(key.as_str()))?;
        }
        f.write_str("\n}\n")
    }
}

impl FromStr for Canonical {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| RecipeError::Record(error.to_string()))
    }
}

impl Canonical {
    /// The blake3 hash of the printed form, in hex.
    pub fn fingerprint(&self) -> String {
        blake3::hash(self.to_string().as_bytes()).to_hex().to_string()
    }

    /// The keys in which this differs from `other`, in order.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let text = |map: &BTreeMap<String, Value>, key| map.get(key).map(Value::to_string);
        keys.into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key))
            .map(|key| Difference {
                key: key.clone(),
                ours: text(&self.0, key),
                theirs: text(&other.0, key),
            })
            .collect()
    }

    /// Whether it has a stage with this name.
    pub fn has_stage(&self, name: &str) -> bool {
        self.0.keys().any(|key| is_below("stage", name, key))
    }

    /// The keys of each stage and their values, by its name: of `stage.sft.from.stage` the key `from.stage`.
    pub fn stages(&self) -> BTreeMap<String, BTreeMap<&str, &Value>> {
        let mut stages: BTreeMap<String, BTreeMap<&str, &Value>> = BTreeMap::new();
        for (key, value) in &self.0 {
            let Some(rest) = key.strip_prefix("stage.") else {
                continue;
            };
            // A name with a dot is quoted; a folder has it, so nothing in it is escaped.
            let split = match rest.strip_prefix('"') {
                Some(rest) => rest.split_once("\"."),
                None => rest.split_once('.'),
            };
            if let Some((name, key)) = split {
                stages.entry(name.to_owned()).or_default().insert(key, value);
            }
        }
        stages
    }

    /// Keeps only these `stages` and `sources`; all sources if `sources` is absent.
    fn restricted(&self, stages: &BTreeSet<&str>, sources: Option<&BTreeSet<&str>>) -> Self {
        let among = |table: &str, names: &BTreeSet<&str>, key: &str| {
            !key.starts_with(&format!("{table}.")) || names.iter().any(|name| is_below(table, name, key))
        };
        let stays = |key: &str| {
            among("stage", stages, key) && sources.is_none_or(|sources| among("source", sources, key))
        };
        let kept = self.0.iter().filter(|(key, _)| stays(key));
        Self(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Whether `key` belongs to `[table.name]`.
fn is_below(table: &str, name: &str, key: &str) -> bool {
    let rest = key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'));
    let rest = rest.and_then(|rest| rest.strip_prefix(quoted(name).as_str()));
    rest.is_some_and(|rest| rest.starts_with('.'))
}

impl Recipe {
    /// The hash, in hex, of the whole recipe's canonical form.
    pub fn fingerprint(&self) -> String {
        self.canonical().fingerprint()
    }

    /// The hash, in hex, of all settings that the processes of a run must agree on, including those that change no result.
    /// Devices may differ.
    pub fn settings_fingerprint(&self) -> String {
        let mut run = self.run.clone();
        run.device = None;
        let settings = json!({ "run": run, "stage": self.stages });
        blake3::hash(settings.to_string().as_bytes()).to_hex().to_string()
    }

    /// The canonical form of the whole recipe.
    pub fn canonical(&self) -> Canonical {
        self.canonical_of(self.stages.iter().collect())
    }

    /// The canonical form of the stage `name` and its dependencies: the stages whose checkpoints it reads, directly or
    /// through others, and the sources of all of them.
    ///
    /// # Errors
    /// The stage does not exist.
    pub fn canonical_stage(&self, name: &str) -> Result<Canonical, RecipeError> {
        let name = self.stage(name)?.name.as_str();
        Ok(self.canonical_of(self.with_parents([name])))
    }

    /// The stages of these names and their dependencies, in the recipe's order.
    pub fn with_parents<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&Stage> {
        let mut wanted: BTreeSet<&str> = names.into_iter().collect();
        // A stage reads earlier stages only.
        let mut found: Vec<&Stage> = Vec::new();
        for stage in self.stages.iter().rev() {
            if wanted.contains(stage.name.as_str()) {
                wanted.extend(stage.parents());
                found.push(stage);
            }
        }
        found.reverse();
        found
    }

    /// The keys in which this recipe differs from `other`, restricted to those that the stages `names` of either depend on.
    pub fn differences_in(&self, other: &Canonical, names: &BTreeSet<String>) -> Vec<Difference> {
        let stages = self.with_parents(names.iter().map(String::as_str));
        let mut kept: BTreeSet<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        kept.extend(names.iter().map(String::as_str));
        let used = self.used_sources(&stages);
        // A tokenizer that is trained on all sources depends on each of them.
        let all = matches!(&self.tokenizer, Tokenizer::Train(train) if train.sources.is_empty());
        let theirs = other.restricted(&kept, (!all).then_some(&used));
        self.canonical_of(stages).differences(&theirs)
    }

    /// The keys in which this recipe differs from the one whose printed canonical form is given.
    ///
    /// # Errors
    /// `other` is not a canonical form.
    pub fn differences(&self, other: &str) -> Result<Vec<Difference>, RecipeError> {
        Ok(self.canonical().differences(&other.parse()?))
    }

    fn canonical_of(&self, stages: Vec<&Stage>) -> Canonical {
        let used = self.used_sources(&stages);
        let sources: Map<String, Value> = self
            .sources
            .iter()
            .filter(|(name, _)| used.contains(name.as_str()))
            .map(|(name, source)| (name.clone(), to_json(source)))
            .collect();
        let stages: Vec<Value> = stages.into_iter().map(|stage| self.stage_json(stage)).collect();
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
        Canonical(flat)
    }

    fn stage_json(&self, stage: &Stage) -> Value {
        let mut value = to_json(stage);
        let Value::Object(object) = &mut value else {
            return value;
        };
        let mut without = vec!["checkpoint", "recompute"];
        if stage.loss().average == LossAverage::Tokens {
            without.push("micro_batch");
        }
        if stage.preference().is_some() {
            // A stage on pairs has no `optimizer_state`.
            without.extend(["row_length", "reference", "optimizer_state"]);
        }
        for key in without {
            object.remove(key);
        }
        if self.data.order == Order::Greedy {
            // The greedy blend gives ties to the source that is written first.
            for phase in stage.phases() {
                let names: Vec<&String> = phase.mixture.sources.keys().collect();
                object.insert(format!("order of {}", phase.name), json!(names));
            }
        }
        value
    }

    /// The sources that can change a result of these stages.
    fn used_sources(&self, stages: &[&Stage]) -> BTreeSet<&str> {
        let phases = self
            .stages
            .iter()
            .filter(|stage| stages.iter().any(|used| used.name == stage.name))
            .flat_map(Stage::phases);
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

fn to_json(value: impl Serialize) -> Value {
    // Fails only for maps with keys other than strings, and there are none.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Inserts `value` into `flat` under its dotted key; tables of an array go by their name.
fn flatten(key: String, value: Value, flat: &mut BTreeMap<String, Value>) {
    let below = |name: &str| match key.as_str() {
        "" => quoted(name),
        key => format!("{key}.{}", quoted(name)),
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

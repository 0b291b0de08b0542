//! The facts on a card, from the files around a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use smollm3_hub::{HubError, Pins, checkpoint_above, commits_of};
use smollm3_recipe::{HubId, ModelConfig, ModelType, PeftConfig};
use smollm3_records::checkpoint::{Progress, STATE, read_state};
use smollm3_records::{Evaluation, RECIPE, Record, StageInfo, WRITTEN_RECIPE, read_evaluation, read_stage};
use toml::Table;

use crate::About;
use crate::error::{CardError, Result, unreadable};

/// Bytes to read at the end of `metrics.jsonl`: thousands of steps, of files that can have gigabytes.
const TAIL: u64 = 4 << 20;

/// Steps that a training loss is the mean of.
pub(crate) const LAST_STEPS: usize = 50;

/// A stage that led to the checkpoint.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Its table in the recipe.
    pub(crate) written: Table,
    pub(crate) info: Option<StageInfo>,
    /// Steps done: in the checkpoint's own stage up to it, in others all.
    pub(crate) step: u64,
    /// Mean loss of the last steps.
    pub(crate) loss: Option<f64>,
    /// Loss on held-out text by category, nats a token, as last measured.
    pub(crate) held_out: BTreeMap<String, f64>,
}

/// `merge.json`, as far as a card shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Merge {
    pub(crate) dtype: String,
    pub(crate) parents: Vec<MergedParent>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MergedParent {
    pub(crate) folder: PathBuf,
    pub(crate) weight: f64,
    pub(crate) share: f64,
}

/// All that a card is made from.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) config: ModelConfig,
    /// If the card is of the adapter alone.
    pub(crate) adapter: Option<PeftConfig>,
    pub(crate) has_template: bool,
    pub(crate) pins: Pins,
    pub(crate) merge: Option<Merge>,
    pub(crate) state: Option<Progress>,
    /// The run's recipe.
    pub(crate) recipe: Option<Table>,
    /// The stages that led to it, in the recipe's order; its own is the last.
    pub(crate) stages: Vec<Stage>,
    /// `evaluation.json`, if it is of this checkpoint's step.
    pub(crate) evaluation: Option<Evaluation>,
}

/// The folder of the run that a checkpoint lies in.
pub(crate) fn run_of(checkpoint: &Path) -> Option<PathBuf> {
    let whole = fs::canonicalize(checkpoint).ok()?;
    let run = whole.parent()?.parent()?;
    let is_run = checkpoint.join(STATE).is_file() && run.join(RECIPE).is_file();
    is_run.then(|| run.to_owned())
}

/// The folder that has a checkpoint's configuration and state: of an adapter, the one above.
pub(crate) fn checkpoint_of(folder: &Path) -> Result<PathBuf> {
    match PeftConfig::is_adapter(folder) {
        false => Ok(folder.to_owned()),
        true => checkpoint_above(folder).ok_or_else(|| CardError::Adapter(folder.to_owned())),
    }
}

impl Facts {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let adapter = PeftConfig::is_adapter(folder).then(|| PeftConfig::read(folder));
        let folder = &checkpoint_of(folder)?;
        let config = ModelConfig::from_hf_file(&folder.join("config.json"))?;
        let tokenizer: Option<Value> = json(&folder.join("tokenizer_config.json"))?;
        let in_config = tokenizer.is_some_and(|config| config.get("chat_template").is_some());
        let mut facts = Self {
            config,
            adapter: adapter.transpose().map_err(HubError::from)?,
            has_template: in_config || folder.join("chat_template.jinja").is_file(),
            pins: commits_of(folder)?,
            merge: json(&folder.join("merge.json"))?,
            state: match folder.join(STATE).is_file() {
                true => Some(read_state(folder).map_err(unreadable(folder))?),
                false => None,
            },
            recipe: None,
            stages: Vec::new(),
            evaluation: None,
        };
        let (Some(run), Some(state)) = (run_of(folder), facts.state.clone()) else {
            return Ok(facts);
        };
        let path = run.join(WRITTEN_RECIPE);
        if let Some(text) = text(&path)? {
            let recipe: Table = text.parse().map_err(unreadable(&path))?;
            facts.stages = stages(&run, &recipe, &state)?;
            facts.recipe = Some(recipe);
        }
        let evaluation = read_evaluation(&run.join(&state.stage))?;
        facts.evaluation = evaluation.filter(|found| found.step == state.step);
        Ok(facts)
    }

    /// A text below `[run]`.
    pub(crate) fn of_run(&self, key: &str) -> Option<&str> {
        self.recipe.as_ref()?.get("run")?.get(key)?.as_str()
    }

    /// Models of the Hub that it was made from.
    pub(crate) fn bases(&self) -> BTreeSet<String> {
        if let Some(adapter) = &self.adapter {
            let id = adapter.base.as_deref().and_then(HubId::parse);
            return id.map(|id| id.repository).into_iter().collect();
        }
        let pinned = || self.pins.keys().filter_map(|pin| pin.split('@').next());
        let named = self.starts().into_iter().filter_map(|text| HubId::parse(&text));
        let mut bases: BTreeSet<String> = named
            .map(|id| id.repository)
            // A name that the run has not resolved on the Hub was a folder.
            .filter(|repository| pinned().any(|pin| pin == repository))
            .collect();
        if self.stages.is_empty() {
            bases.extend(pinned().map(str::to_owned));
        }
        bases
    }

    /// What the stages start from outside the run, as the recipe writes it.
    fn starts(&self) -> BTreeSet<String> {
        let checkpoint = |table: &toml::Value| Some(table.get("checkpoint")?.as_str()?.to_owned());
        let mut starts = BTreeSet::new();
        for stage in &self.stages {
            let of_model = || {
                self.recipe
                    .as_ref()
                    .and_then(|recipe| checkpoint(recipe.get("model")?))
            };
            starts.extend(
                text_at(&stage.written, "from")
                    .map(str::to_owned)
                    .or_else(of_model),
            );
            starts.extend(list_at(&stage.written, "model").iter().filter_map(checkpoint));
        }
        starts
    }

    /// Title, and two sentences on what the model is.
    pub(crate) fn introduction(&self, about: &About<'_>) -> String {
        let config = &self.config;
        let repository = about
            .repository
            .and_then(|repository| repository.rsplit('/').next());
        let title = repository.or(self.of_run("name")).unwrap_or("A language model");
        let kind = match config.model_type {
            ModelType::SmolLM3 => "SmolLM3",
            ModelType::Llama => "Llama",
        };
        let what = match &self.adapter {
            Some(adapter) => format!(
                "A LoRA adapter of rank {} (alpha {}{}) for {}, a decoder",
                adapter.rank,
                adapter.alpha,
                if adapter.rslora { ", rank-stabilised" } else { "" },
                adapter.base.as_deref().unwrap_or("its base")
            ),
            None => "A decoder".to_owned(),
        };
        let mut text = format!(
            "# {title}\n\n{what} of {kind}'s architecture with {} parameters: {} layers of width {}, {} attention heads \
             over {} key-value heads, {} entries in the vocabulary, a context of {} tokens.",
            count(config.parameters()),
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.vocab_size,
            config.max_position_embeddings,
        );
        if let Some(state) = &self.state {
            let of = match state.steps {
                0 => String::new(),
                steps => format!(" after step {} of {steps}", state.step),
            };
            let run = self.of_run("name").map(|run| format!(" of the run `{run}`"));
            let (stage, run) = (&state.stage, run.unwrap_or_default());
            text += &format!(" This is the checkpoint of stage `{stage}`{of}{run}.");
        }
        text + "\n\n"
    }
}

/// The stages that led to a checkpoint of `state`.
fn stages(run: &Path, recipe: &Table, state: &Progress) -> Result<Vec<Stage>> {
    let mut wanted = BTreeSet::from([state.stage.clone()]);
    let mut found = Vec::new();
    let written = list_at(recipe, "stage").iter().filter_map(toml::Value::as_table);
    for stage in written.rev() {
        let Some(name) = text_at(stage, "name").filter(|name| wanted.contains(*name)) else {
            continue;
        };
        let models = list_at(stage, "model")
            .iter()
            .filter_map(|model| model.get("checkpoint"));
        let parents = models.chain(stage.get("from")).filter_map(toml::Value::as_str);
        found.push(stage_of(run, name.to_owned(), stage.clone(), state)?);
        wanted.extend(parents.map(str::to_owned));
    }
    found.reverse();
    Ok(found)
}

fn stage_of(run: &Path, name: String, written: Table, state: &Progress) -> Result<Stage> {
    let folder = run.join(&name);
    let info = read_stage(&folder)?;
    let step = match name == state.stage {
        true => state.step,
        false => info.as_ref().map_or(0, |info| info.steps),
    };
    let (mut losses, mut held_out) = (Vec::new(), BTreeMap::new());
    for line in tail(&folder.join("metrics.jsonl"))?.lines() {
        match serde_json::from_str(line) {
            Ok(Record::Step(of)) if of.step <= step && of.loss.is_finite() => losses.push(of.loss),
            Ok(Record::HeldOut(of)) if of.step <= step && of.nats_per_token.is_finite() => {
                held_out.insert(of.category, of.nats_per_token);
            }
            // The first line may be cut.
            _ => {}
        }
    }
    let last = &losses[losses.len().saturating_sub(LAST_STEPS)..];
    Ok(Stage {
        loss: (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64),
        name,
        written,
        info,
        step,
        held_out,
    })
}

/// The text of a key, if it is one.
pub(crate) fn text_at<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    table.get(key)?.as_str()
}

/// The list of a key; empty if it is none.
pub(crate) fn list_at<'t>(table: &'t Table, key: &str) -> &'t [toml::Value] {
    let list = table.get(key).and_then(toml::Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// A number in three digits: 3.08B, 135M.
pub(crate) fn count(number: u64) -> String {
    // Limits are where rounding adds a digit.
    let (value, unit) = match number as f64 {
        number @ 999.5e9.. => (number / 1e12, "T"),
        number @ 999.5e6.. => (number / 1e9, "B"),
        number @ 999.5e3.. => (number / 1e6, "M"),
        number @ 1e4.. => (number / 1e3, "k"),
        number => return format!("{number}"),
    };
    match value {
        99.95.. => format!("{value:.0}{unit}"),
        9.995.. => format!("{value:.1}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

/// The text of a file, if it exists.
pub(crate) fn text(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path)(error)),
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = text(path)?;
    text.map(|text| serde_json::from_str(&text).map_err(unreadable(path)))
        .transpose()
}

/// The end of a file; empty if it does not exist.
fn tail(path: &Path) -> Result<String> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(unreadable(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn a_number_has_three_digits_once_it_is_rounded() {
        for (number, text) in [
            (9_999, "9999"),
            (99_949, "99.9k"),
            (99_960, "100k"),
            (999_499, "999k"),
            (999_960, "1.00M"),
            (9_996_000, "10.0M"),
            (3_075_098_624, "3.08B"),
            (999_500_000_000, "1.00T"),
        ] {
            assert_eq!(count(number), text);
        }
    }
}

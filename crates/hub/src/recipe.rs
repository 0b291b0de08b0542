//! The models on the Hub that a recipe names: located, fetched, pinned.
//!
//! `hub.json` in a run's folder has the commits that it began with, by model (`owner/name@revision`). The run continues with
//! them even if the branches have moved; each checkpoint has a copy of the file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use smollm3_corpus::fetch::FetchProgress;
use smollm3_files::atomic_file::write_json;
use smollm3_files::io;
use smollm3_recipe::{
    AdapterFolders, Model, PeftConfig, Recipe, StageData, Start, TemplateChoice, Tokenizer,
};

use crate::adapter::{AdapterBase, adapter_base};
use crate::cache::Origin;
use crate::error::{HubError, Result};
use crate::hub::{Hub, Report, Snapshot};
use crate::place::{fetched, folder_or_hub};
use crate::wanted::Wanted;

/// The file in a run's folder and in checkpoints: commits by model.
pub const PINS: &str = "hub.json";

/// Commits by model, `owner/name` or `owner/name@revision`.
pub type Pins = BTreeMap<String, String>;

/// What a command needs of the models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Their architecture (`plan`).
    Config,
    /// Architecture, tokenizer and templates (`data prepare`).
    Text,
    /// Everything (`run`).
    Weights,
}

/// Where a named model was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// A folder of this name, which takes precedence.
    Folder(PathBuf),
    /// A model on the Hub.
    Hub(Snapshot),
}

/// Sets the recipe's `hub_folders` to the folders of all models on the Hub that it names, base models of adapters (PEFT)
/// included, and returns their commits. `hub` is called if a model is needed; `report` gets the progress of each model,
/// `located` where each was found.
///
/// # Errors
/// A model cannot be found or fetched; the error has the key that names it.
pub fn locate(
    recipe: &mut Recipe,
    depth: Depth,
    pins: &Pins,
    hub: &dyn Fn() -> Result<Hub>,
    report: &mut dyn FnMut(&str, FetchProgress) -> bool,
    located: &mut dyn FnMut(&str, &Located),
) -> Result<Pins> {
    let most = match depth {
        Depth::Config => Wanted::CONFIG,
        Depth::Text => Wanted::TEXT,
        Depth::Weights => Wanted::MODEL,
    };
    let mut found = Locator {
        pins,
        hub,
        opened: None,
        directory: recipe.directory.clone(),
        commits: Pins::new(),
        report,
        located,
    };
    for (text, (key, wanted)) in names(recipe) {
        let wanted = wanted.and(most);
        if wanted != Wanted::default() {
            let folder = found.folder(&text, &key, wanted)?;
            recipe.hub_folders.insert(text, folder);
        }
    }
    for (text, key) in adapters(recipe) {
        let Some(adapter) = recipe
            .named_folder(&text)
            .filter(|folder| PeftConfig::is_adapter(folder))
        else {
            continue;
        };
        let base = match adapter_base(&adapter).map_err(|error| in_recipe(&key, error))? {
            AdapterBase::Folder(folder) => folder,
            AdapterBase::Hub(id) => found.folder(&id, &key, most)?,
        };
        recipe.hub_folders.insert(text.clone(), base.clone());
        recipe.adapters.insert(text, AdapterFolders { adapter, base });
    }
    Ok(found.commits)
}

/// Checkpoints that may be adapters, each with the first key that names it.
fn adapters(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, start) in recipe.outside_checkpoints() {
        if let Some(text) = start.outside() {
            found.entry(text.to_owned()).or_insert(key);
        }
    }
    found
}

/// Locates the models of a recipe.
struct Locator<'a> {
    pins: &'a Pins,
    hub: &'a dyn Fn() -> Result<Hub>,
    opened: Option<Hub>,
    directory: PathBuf,
    commits: Pins,
    report: &'a mut dyn FnMut(&str, FetchProgress) -> bool,
    located: &'a mut dyn FnMut(&str, &Located),
}

impl Locator<'_> {
    /// The folder of the model that `text` names, fetched if it is not on this machine.
    fn folder(&mut self, text: &str, key: &str, wanted: Wanted) -> Result<PathBuf> {
        let Some(id) = folder_or_hub(text, &self.directory) else {
            let folder = self.directory.join(text);
            (self.located)(text, &Located::Folder(folder.clone()));
            return Ok(folder);
        };
        let hub = match &self.opened {
            Some(hub) => hub,
            None => self.opened.insert((self.hub)()?),
        };
        // Other spellings of the same model get the same commit.
        let model = id.model();
        let pinned = self.pins.get(&model).or_else(|| self.commits.get(&model));
        let tell = &mut self.report;
        let report: &mut Report<'_> = &mut |progress| tell(text, progress);
        let snapshot = fetched(
            hub,
            text,
            &self.directory,
            &id,
            pinned.map(String::as_str),
            wanted,
            report,
        )
        .map_err(|error| in_recipe(key, error))?;
        (self.located)(text, &Located::Hub(snapshot.clone()));
        self.commits.insert(model, snapshot.commit);
        Ok(snapshot.folder)
    }
}

fn in_recipe(key: &str, error: HubError) -> HubError {
    match error {
        HubError::Interrupted => error,
        error => HubError::Recipe {
            key: key.to_owned(),
            cause: Box::new(error),
        },
    }
}

/// The models on the Hub that a recipe names: the first key that names each, and what is wanted of it.
fn names(recipe: &Recipe) -> BTreeMap<String, (String, Wanted)> {
    let mut names: BTreeMap<String, (String, Wanted)> = BTreeMap::new();
    let mut add = |text: &str, key: String, wanted: Wanted| {
        let entry = names.entry(text.to_owned()).or_insert((key, Wanted::default()));
        entry.1 = entry.1.or(wanted);
    };
    if let Model::Checkpoint(Start::Hub(text)) = &recipe.model {
        add(text, "model.checkpoint".to_owned(), Wanted::CONFIG);
    }
    if let Tokenizer::Pretrained(text) = &recipe.tokenizer {
        add(text, "tokenizer.pretrained".to_owned(), Wanted::TOKENIZER);
    }
    for stage in &recipe.stages {
        let key = |name: &str| format!("stage.{}.{name}", stage.name);
        if let Start::Hub(text) = &stage.from {
            add(text, key("from"), Wanted::MODEL);
        }
        match &stage.data {
            StageData::Apo(preference) => {
                if let Some(Start::Hub(text)) = &preference.reference_from {
                    add(text, key("reference_from"), Wanted::MODEL);
                }
            }
            StageData::Merge(merging) => {
                for model in &merging.models {
                    if let Start::Hub(text) = &model.checkpoint {
                        add(text, key("model.checkpoint"), Wanted::MODEL);
                    }
                }
            }
            _ => {}
        }
        if let Some(TemplateChoice::Hub(text)) = stage.chat().map(|chat| &chat.template) {
            add(text, key("template"), Wanted::TOKENIZER);
        }
    }
    names
}

/// The commits recorded in the folder of a run or a checkpoint.
///
/// # Errors
/// The file exists and cannot be read.
pub fn read_pins(folder: &Path) -> Result<Pins> {
    let path = folder.join(PINS);
    match std::fs::read(&path) {
        // That the folder is a file is reported when something is written there.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Pins::new())
        }
        read => {
            let pins = read.and_then(|text| Ok(serde_json::from_slice(&text)?));
            Ok(pins.map_err(io("read", &path))?)
        }
    }
}

/// Records commits in a folder; writes nothing if there are none.
///
/// # Errors
/// The file cannot be written.
pub fn write_pins(folder: &Path, pins: &Pins) -> Result<()> {
    if !pins.is_empty() {
        write_json(&folder.join(PINS), pins)?;
    }
    Ok(())
}

/// The commits that a checkpoint was made from: its own if it is a snapshot in the cache, else those recorded in its folder.
///
/// # Errors
/// The record cannot be read.
pub fn commits_of(folder: &Path) -> Result<Pins> {
    match Origin::of(folder) {
        Some(origin) => Ok(Pins::from([(origin.repository, origin.commit)])),
        None => read_pins(folder),
    }
}

//! What a recipe names on the Hub, found or fetched, and pinned.
//!
//! The commits that a run began with are in `hub.json` of its folder, by model (`owner/name@revision`). The same run
//! goes on with them wherever the branches have moved; each of its checkpoints has a copy of the file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use smollm3_corpus::fetch::FetchProgress;
use smollm3_files::atomic_file::write_atomically;
use smollm3_recipe::{
    AdapterFolders, Model, PeftConfig, Recipe, StageData, Start, TemplateChoice, Tokenizer,
};

use crate::adapter::{AdapterBase, adapter_base};
use crate::cache::Origin;
use crate::error::{HubError, Result, io};
use crate::hub::{Hub, Report, Snapshot};
use crate::place::{fetched, folder_or_hub};
use crate::wanted::Wanted;

/// The file in a run's folder and in checkpoints: commits by model.
pub const PINS: &str = "hub.json";

/// Commits by model, `owner/name` or `owner/name@revision`.
pub type Pins = BTreeMap<String, String>;

/// How much of the models a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Their architecture: `plan`.
    Config,
    /// Architecture, tokenizer and templates: `data prepare`.
    Text,
    /// All: `run`.
    Weights,
}

/// What became of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// A folder of this name, which comes first.
    Folder(PathBuf),
    /// A model of the Hub.
    Hub(Snapshot),
}

/// Puts the folders of all models of the Hub that `recipe` names into its `hub_folders`, and returns their commits. `hub`
/// is opened if it is needed, also for the models that adapters (PEFT) are of; `report` gets each model's name with its progress, `located` what each text turned out to be.
///
/// # Errors
/// One of them cannot be had, with the key that names it.
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
        Depth::Text => Wanted {
            weights: false,
            ..Wanted::MODEL
        },
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

/// Checkpoints that may turn out to be adapters, by text, and the key that names each.
fn adapters(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, start) in recipe.outside_checkpoints() {
        if let Some(text) = start.outside() {
            // The first key that names it is the one to tell of.
            found.entry(text.to_owned()).or_insert(key);
        }
    }
    found
}

/// What models of a recipe are found with.
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
    /// The folder of what `text` names, fetched where it is not on this machine.
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
        // Other spellings of the same model are of the same commit.
        let model = id.model();
        let pinned = self
            .pins
            .get(&model)
            .or_else(|| self.commits.get(&model))
            .cloned();
        let tell = &mut self.report;
        let report: &mut Report<'_> = &mut |progress| tell(text, progress);
        let snapshot = fetched(hub, text, &self.directory, &id, pinned.as_deref(), wanted, report)
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

/// What a recipe names on the Hub: by text, the first key that names it and what is wanted of it.
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

/// The commits that a run's folder or a checkpoint has on record.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_pins(folder: &Path) -> Result<Pins> {
    let path = folder.join(PINS);
    match std::fs::read(&path) {
        // A file in the place of the folder is named by whoever writes there.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Pins::new())
        }
        Err(error) => Err(io("read", &path)(error)),
        Ok(text) => serde_json::from_slice(&text).map_err(|error| io("read", &path)(error.into())),
    }
}

/// Records commits in a folder; nothing where there are none.
///
/// # Errors
/// The file cannot be written.
pub fn write_pins(folder: &Path, pins: &Pins) -> Result<()> {
    if pins.is_empty() {
        return Ok(());
    }
    // Strings by strings: JSON holds them.
    let text = serde_json::to_string_pretty(pins).unwrap_or_default() + "\n";
    Ok(write_atomically(&folder.join(PINS), text.as_bytes())?)
}

/// The commits that a checkpoint was made from: of a snapshot in the cache its own, else those on record in its folder.
///
/// # Errors
/// What is on record cannot be read.
pub fn commits_of(folder: &Path) -> Result<Pins> {
    match Origin::of(folder) {
        Some(origin) => Ok(Pins::from([(origin.repository, origin.commit)])),
        None => read_pins(folder),
    }
}

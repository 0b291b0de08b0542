//! A whole recipe: read, checked, and resolved to typed values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::document::Document;
use crate::error::RecipeError;
use crate::evaluation::Evaluation;
use crate::key_path::KeyPath;
use crate::keys::FileOr;
use crate::model_config::ModelConfig;
use crate::overrides;
use crate::run::{Cluster, Data, Order, Run, Tokenizer};
use crate::section::{Section, unknown};
use crate::source::Source;
use crate::stage::{Stage, StageData};
use crate::start::{PLACES, Start};

/// A recipe whose settings fit together. Its file names are relative to [`Recipe::directory`].
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub struct Recipe {
    /// The folder of `recipe.toml`.
    #[schemars(skip)]
    pub directory: PathBuf,
    /// `[run]`.
    pub run: Run,
    /// `[model]`.
    pub model: Model,
    /// `[tokenizer]`; by default that of `model.checkpoint`.
    #[schemars(with = "Option<Tokenizer>")]
    pub tokenizer: Tokenizer,
    /// `[data]`.
    #[schemars(with = "Option<Data>")]
    pub data: Data,
    /// `[source.NAME]`: the sources by name.
    #[schemars(rename = "source", default)]
    pub sources: BTreeMap<String, Source>,
    /// `[[stage]]`: the stages in order.
    #[schemars(rename = "stage")]
    pub stages: Vec<Stage>,
    /// `[plan]`.
    #[schemars(default)]
    pub plan: Cluster,
    /// `[evaluation]`.
    #[schemars(default)]
    pub evaluation: Evaluation,
    /// The whole recipe as one TOML file: included files inlined, overrides applied, without comments.
    #[schemars(skip)]
    pub text: String,
    /// Local folders of the Hub models that the recipe names, by the name as written. Not part of the recipe: `smollm3-hub`
    /// fills it in.
    #[schemars(skip)]
    pub hub_folders: BTreeMap<String, PathBuf>,
    /// The adapters (PEFT) that the recipe names as checkpoints, by the name as written. Filled in together with
    /// `hub_folders`, which maps such a name to the folder of a whole model: the base, or the two merged.
    #[schemars(skip)]
    pub adapters: BTreeMap<String, AdapterFolders>,
}

/// An adapter on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterFolders {
    /// Its folder.
    pub adapter: PathBuf,
    /// The folder of its base model.
    pub base: PathBuf,
}

/// `[model]`: an architecture, or a checkpoint that has one.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Model {
    /// An architecture, from a file of `configs/` or a `config.json`: stages without `from` start at random.
    Config(#[schemars(with = "FileOr<Map<String, Value>>")] ModelConfig),
    /// The architecture of a checkpoint: stages without `from` start from its weights.
    Checkpoint(Start),
}

impl Recipe {
    /// Reads `recipe.toml` in the folder `path`, or the file `path`, with `key=value` overrides on top.
    ///
    /// # Errors
    /// A file that cannot be read, or the first key that is unknown, missing or cannot be honoured, with its
    /// place and what to write instead.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let mut document = Document::load(path)?;
        for text in overrides {
            overrides::apply(&mut document, text)?;
        }
        Self::read(&document)
    }

    fn read(document: &Document) -> Result<Self, RecipeError> {
        let mut root = Section::root(document);
        let run: Run = root.section("run")?.rest()?;
        if run.output.as_os_str().is_empty() {
            let message = "it is empty; write a folder, such as \"runs/NAME\"";
            return Err(root.error_at(&["run", "output"], message));
        }
        let model = read_model(document, root.section("model")?)?;
        let data: Data = root.section("data")?.rest()?;
        let mut sources = BTreeMap::new();
        for (name, mut section) in root.named_sections("source")? {
            sources.insert(name, Source::read(&mut section, data.max_epochs)?);
        }
        let of_model = match &model {
            Model::Checkpoint(Start::Folder(folder)) => Some(Tokenizer::File(folder.join("tokenizer.json"))),
            Model::Checkpoint(Start::Hub(id)) => Some(Tokenizer::Pretrained(id.clone())),
            Model::Checkpoint(_) | Model::Config(_) => None,
        };
        let tokenizer = Tokenizer::read(root.section("tokenizer")?, of_model)?;
        if let Tokenizer::Train(train) = &tokenizer {
            let names: Vec<&str> = sources.keys().map(String::as_str).collect();
            if let Some(name) = train.sources.iter().find(|name| !sources.contains_key(*name)) {
                let message = unknown("source", name, &names);
                return Err(root.error_at(&["tokenizer", "train", "sources"], message));
            }
        }
        let default_start = match &model {
            Model::Config(_) => Start::Random,
            Model::Checkpoint(start) => start.clone(),
        };
        let mut stages: Vec<Stage> = Vec::new();
        for mut section in root.sections("stage")? {
            let earlier: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
            stages.push(Stage::read(&mut section, &earlier, &default_start, &sources)?);
        }
        if stages.is_empty() {
            return Err(root.error(
                "stage",
                "there is no stage; write at least one [[stage]]".to_owned(),
            ));
        }
        let nothing = |stage: &&Stage| {
            let validation = stage.validation();
            data.held_out.fraction() == 0.0 && validation.is_some_and(|own| own.paths.is_empty())
        };
        if let Some(stage) = stages.iter().find(nothing) {
            let message =
                "there is nothing to measure on; write paths = [\"dev.jsonl\"], or data.held_out = \"1%\"";
            return Err(root.error_at(&["stage", &stage.name, "validation"], message.to_owned()));
        }
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        let plan = Cluster::read(root.section("plan")?, &names)?;
        let evaluation = Evaluation::read(root.section("evaluation")?)?;
        root.finish()?;
        if data.order == Order::Even {
            // Ties between sources are broken by position, so position must not depend on how a file is written.
            for phase in stages.iter_mut().flat_map(Stage::phases_mut) {
                phase.mixture.sort();
            }
        }
        Ok(Self {
            directory: document.directory.clone(),
            run,
            model,
            tokenizer,
            data,
            sources,
            stages,
            plan,
            evaluation,
            text: document.tree.to_string(),
            hub_folders: BTreeMap::new(),
            adapters: BTreeMap::new(),
        })
    }

    /// The stage of this name.
    ///
    /// # Errors
    /// There is none; the message lists the stages.
    pub fn stage(&self, name: &str) -> Result<&Stage, RecipeError> {
        self.stages
            .iter()
            .find(|stage| stage.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = self.stages.iter().map(|stage| stage.name.as_str()).collect();
                RecipeError::Stage(unknown("stage", name, &names))
            })
    }

    /// A path of the recipe, relative to the current folder.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.join(path)
    }

    /// An address of the recipe; a path is relative to the recipe's folder.
    pub fn address(&self, address: &str) -> String {
        match address.contains("://") {
            true => address.to_owned(),
            false => self.resolve(address).to_string_lossy().into_owned(),
        }
    }

    /// The folder of a checkpoint outside the run, if it is on this machine.
    pub fn checkpoint_folder(&self, start: &Start) -> Option<PathBuf> {
        match start {
            Start::Folder(folder) => {
                let merged = folder.to_str().and_then(|text| self.hub_folders.get(text));
                Some(merged.cloned().unwrap_or_else(|| self.resolve(folder)))
            }
            Start::Hub(id) => self.hub_folders.get(id).cloned(),
            Start::Random | Start::Stage(_) => None,
        }
    }

    /// The folder of a checkpoint outside the run by the text that names it, if it is on this machine.
    pub fn named_folder(&self, text: &str) -> Option<PathBuf> {
        self.checkpoint_folder(&Start::checkpoint(text)?)
    }

    /// The file of `[tokenizer]`, relative to the current folder. For an adapter without one, that of its base.
    pub fn tokenizer_file(&self, file: &Path) -> PathBuf {
        let own = self.resolve(file);
        let parent = file.parent().and_then(Path::to_str);
        match parent.and_then(|text| self.hub_folders.get(text)) {
            Some(merged) if !own.exists() => merged.join("tokenizer.json"),
            _ => own,
        }
    }

    /// The checkpoints outside the run whose weights the recipe reads, each with the key that names it.
    pub fn outside_checkpoints(&self) -> Vec<(String, &Start)> {
        let mut found = Vec::new();
        if let Model::Checkpoint(start) = &self.model {
            found.push(("model.checkpoint".to_owned(), start));
        }
        for stage in &self.stages {
            let key = |name: &str| format!("stage.{}.{name}", stage.name);
            found.push((key("from"), &stage.from));
            match &stage.data {
                StageData::Apo(preference) => {
                    found.extend(
                        preference
                            .reference_from
                            .iter()
                            .map(|start| (key("reference_from"), start)),
                    );
                }
                StageData::Merge(merging) => {
                    let models = merging.models.iter();
                    found.extend(models.map(|model| (key("model.checkpoint"), &model.checkpoint)));
                }
                _ => {}
            }
        }
        found.retain(|(_, start)| matches!(start, Start::Folder(_) | Start::Hub(_)));
        found
    }

    /// The architecture: that of `[model]`, read from the checkpoint's `config.json` when it is one.
    ///
    /// # Errors
    /// The checkpoint is not on this machine, or its `config.json` cannot be used.
    pub fn architecture(&self) -> Result<ModelConfig, RecipeError> {
        match &self.model {
            Model::Config(config) => Ok(config.clone()),
            Model::Checkpoint(start) => match self.checkpoint_folder(start) {
                Some(folder) => Ok(ModelConfig::from_hf_file(&folder.join("config.json"))?),
                None => Err(RecipeError::Stage(
                    "model.checkpoint is not on this machine yet; `smollm3 run` fetches it".to_owned(),
                )),
            },
        }
    }

    /// The architecture of the checkpoint that `start` names, if that has a folder and there is one.
    ///
    /// # Errors
    /// Its `config.json` cannot be used.
    pub fn checkpoint_architecture(&self, start: &Start) -> Result<Option<ModelConfig>, RecipeError> {
        let Some(folder) = self.checkpoint_folder(start) else {
            return Ok(None);
        };
        let file = folder.join("config.json");
        match file.is_file() {
            true => Ok(Some(ModelConfig::from_hf_file(&file)?)),
            false => Ok(None),
        }
    }
}

fn read_model(document: &Document, mut section: Section<'_>) -> Result<Model, RecipeError> {
    const CHOICE: &str =
        "a model comes from `config` (a file of configs/) or from `checkpoint` (a folder or a Hub id)";
    if section.has("config") && section.has("checkpoint") {
        return Err(section.error("", format!("{CHOICE}; keep one of them")));
    }
    if let Some(text) = section.optional::<String>("checkpoint")? {
        let start = Start::checkpoint(&text)
            .ok_or_else(|| section.error("checkpoint", format!("`{text}` is not a checkpoint; {PLACES}")))?;
        section.finish()?;
        return Ok(Model::Checkpoint(start));
    }
    let Some(config) = section.optional::<toml::Value>("config")? else {
        section.finish()?;
        return Err(section.error("", format!("{CHOICE}; write one of them")));
    };
    section.finish()?;
    let path = KeyPath::default().key("model").key("config");
    let config = match (&config, document.included_file(&path)) {
        (toml::Value::String(json), _) => ModelConfig::from_hf_file(&document.directory.join(json))?,
        // The file itself, so that an error can quote it.
        (_, Some(file)) => ModelConfig::from_toml_file(file)?,
        (toml::Value::Table(table), None) => {
            ModelConfig::from_toml(&table.to_string(), Path::new("model.config"))?
        }
        (other, None) => {
            let message = format!("this is of type {}; write a file of configs/", other.type_str());
            return Err(section.error("config", message));
        }
    };
    Ok(Model::Config(config))
}

//! From a recipe's sources to token stores on disk: the tokenizer, the tokenised text, and what each source holds.
//!
//! Everything lands in the run's folder (`tokenizer/`, `data/SOURCE/`) and is found again by its fingerprint, so
//! running twice prepares once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use smollm3_corpus::text::{Arithmetic, CargoSources, CargoText, DocumentSource, sample};
use smollm3_corpus::tokenize::{TokenizeOptions, held_out_folder, tokenize, train_folder};
use smollm3_corpus::{CorpusError, TokenStore, Tokenizer};
use smollm3_recipe::{Recipe, Source, SourceKind, Tokenizer as TokenizerSpec};

use crate::checkpoint::write_json;
use crate::error::io;
use crate::{EngineError, Event, Listener, Result};

/// Where a source's tokens lie.
#[derive(Debug)]
pub struct SourceStore {
    /// The folder of what is trained on.
    pub train: PathBuf,
    /// The folder of what is kept out, if anything is.
    pub held_out: Option<PathBuf>,
    /// Stands for the training store's contents.
    pub fingerprint: String,
}

/// Everything a recipe reads, ready.
#[derive(Debug)]
pub struct Data {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Folder with `tokenizer.json` and `tokenizer_config.json`, as checkpoints carry them.
    pub tokenizer_folder: PathBuf,
    /// Stores by source name.
    pub stores: BTreeMap<String, SourceStore>,
}

impl Data {
    /// Trains or loads the tokenizer and tokenises what is not tokenised yet, below `output`.
    ///
    /// # Errors
    /// A source or the tokenizer cannot be read, is of a kind that this program does not read, or the disk is full.
    pub fn prepare(recipe: &Recipe, output: &Path, listener: &mut dyn Listener) -> Result<Self> {
        let mut texts = BTreeMap::new();
        for (name, source) in &recipe.sources {
            if let Some(text) = open_text(recipe, name, source)? {
                texts.insert(name.as_str(), text);
            }
        }
        let tokenizer_folder = output.join("tokenizer");
        let tokenizer = prepare_tokenizer(recipe, &texts, &tokenizer_folder, listener)?;
        let mut stores = BTreeMap::new();
        for (name, source) in &recipe.sources {
            let store = match (&source.kind, texts.get(name.as_str())) {
                (SourceKind::Tokens(tokens), _) => {
                    let train = recipe.resolve(&tokens.folder);
                    let fingerprint = TokenStore::open(&train)?.fingerprint()?.to_hex();
                    SourceStore {
                        train,
                        held_out: None,
                        fingerprint,
                    }
                }
                (_, Some(text)) => prepare_store(
                    recipe,
                    name,
                    text.as_ref(),
                    &tokenizer,
                    &output.join("data").join(name),
                    listener,
                )?,
                (_, None) => continue,
            };
            stores.insert(name.clone(), store);
        }
        Ok(Self {
            tokenizer,
            tokenizer_folder,
            stores,
        })
    }

    /// The store of a source.
    ///
    /// # Errors
    /// The recipe has no such source.
    pub fn store(&self, source: &str) -> Result<&SourceStore> {
        self.stores
            .get(source)
            .ok_or_else(|| EngineError::Refused(format!("source \"{source}\" has no token store")))
    }
}

/// The documents of a source; `None` for one that is tokenised already.
fn open_text(recipe: &Recipe, name: &str, source: &Source) -> Result<Option<Box<dyn DocumentSource>>> {
    let crates = |text| -> Result<Option<Box<dyn DocumentSource>>> {
        Ok(Some(Box::new(CargoSources::find(
            workspace_manifest(recipe)?,
            text,
        )?)))
    };
    match &source.kind {
        SourceKind::CargoMarkdown => crates(CargoText::Markdown),
        SourceKind::CargoRust => crates(CargoText::Rust),
        SourceKind::Arithmetic(settings) => {
            Ok(Some(Box::new(Arithmetic::new(settings.seed, settings.documents))))
        }
        SourceKind::Tokens(_) => Ok(None),
        SourceKind::Jsonl(_) | SourceKind::Parquet(_) | SourceKind::Hub(_) => {
            Err(EngineError::Refused(format!(
                "source \"{name}\": this kind of source has to be tokenised before the run; tokenise it and write \
             kind = \"tokens\" with the folder"
            )))
        }
    }
}

/// The `Cargo.toml` beside the nearest `Cargo.lock` above the recipe.
fn workspace_manifest(recipe: &Recipe) -> Result<PathBuf> {
    let start = fs::canonicalize(&recipe.directory).map_err(io("find", &recipe.directory))?;
    let found = start
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file());
    found.map(|folder| folder.join("Cargo.toml")).ok_or_else(|| {
        EngineError::Refused(format!(
            "{}: a cargo source needs a Cargo.lock in this folder or above it; put the recipe into a cargo workspace",
            recipe.directory.display()
        ))
    })
}

fn prepare_tokenizer(
    recipe: &Recipe,
    texts: &BTreeMap<&str, Box<dyn DocumentSource>>,
    folder: &Path,
    listener: &mut dyn Listener,
) -> Result<Tokenizer> {
    let file = folder.join("tokenizer.json");
    let tokenizer = match &recipe.tokenizer {
        // The run's folder belongs to this recipe (its fingerprint is checked first), so a file there is the one.
        _ if file.is_file() => Tokenizer::load(&file)?,
        TokenizerSpec::File(path) => Tokenizer::load(recipe.resolve(path))?,
        TokenizerSpec::Pretrained(repository) => {
            return Err(EngineError::Refused(format!(
                "tokenizer.pretrained = \"{repository}\": download its tokenizer.json and write tokenizer.file"
            )));
        }
        TokenizerSpec::Train(train) => {
            let all = texts.keys().copied();
            let names: Vec<&str> = match train.sources.is_empty() {
                true => all.collect(),
                false => train.sources.iter().map(String::as_str).collect(),
            };
            let what = format!("training a tokenizer of {} entries", train.vocab_size);
            listener.on(&Event::Preparing {
                what: what.clone(),
                done: 0,
                total: 1,
            })?;
            let mut text = Vec::new();
            for name in &names {
                let Some(source) = texts.get(name) else {
                    return Err(EngineError::Refused(format!(
                        "tokenizer.train.sources: \"{name}\" is not text; name a source that is"
                    )));
                };
                text.extend(sample(
                    source.as_ref(),
                    train.bytes.0 / names.len() as u64,
                    recipe.run.seed,
                )?);
            }
            let tokenizer = Tokenizer::train(text.iter().map(String::as_str), train.vocab_size)?;
            listener.on(&Event::Preparing {
                what,
                done: 1,
                total: 1,
            })?;
            tokenizer
        }
    };
    if !file.is_file() {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        write_tokenizer_config(&tokenizer, folder)?;
        // Last, because its presence says that the folder is complete.
        tokenizer.save(&file)?;
    }
    Ok(tokenizer.with_name(&recipe.run.name))
}

/// What transformers' `AutoTokenizer` needs beside `tokenizer.json`.
fn write_tokenizer_config(tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
    let info = tokenizer.info();
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.inner().id_to_token(id));
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(info.begin_of_text),
        "eos_token": token(Some(info.end_of_text)),
        "clean_up_tokenization_spaces": false,
    });
    write_json(&folder.join("tokenizer_config.json"), &config)
}

fn prepare_store(
    recipe: &Recipe,
    name: &str,
    text: &dyn DocumentSource,
    tokenizer: &Tokenizer,
    folder: &Path,
    listener: &mut dyn Listener,
) -> Result<SourceStore> {
    let options = TokenizeOptions {
        seed: recipe.run.seed,
        held_out: recipe.data.held_out.fraction(),
        ..TokenizeOptions::default()
    };
    let what = format!("tokenising {name}");
    let mut trouble = None;
    let report = tokenize(text, tokenizer, folder, &options, &mut |progress| {
        let event = Event::Preparing {
            what: what.clone(),
            done: progress.documents,
            total: progress.of_documents,
        };
        trouble = listener.on(&event).err();
        trouble.is_none()
    });
    let report = match (report, trouble) {
        (Err(CorpusError::Interrupted), Some(error)) => return Err(error),
        (report, _) => report?,
    };
    let train = train_folder(folder);
    let held_out = (options.held_out > 0.0).then(|| held_out_folder(folder));
    let fingerprint = TokenStore::open(&train)?.fingerprint()?.to_hex();
    listener.on(&Event::Note(format!(
        "{name}: {} documents, {} tokens ({:.2} bytes each), {} held out; text {}",
        report.train.documents + report.held_out.documents,
        report.train.tokens + report.held_out.tokens,
        report.train.bytes_per_token(),
        report.held_out.documents,
        short(&text.fingerprint().to_hex()),
    )))?;
    Ok(SourceStore {
        train,
        held_out,
        fingerprint,
    })
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}

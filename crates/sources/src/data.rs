//! From a recipe's sources to token stores on disk: the tokenizer, the tokenised text, and what each source holds.
//!
//! Everything lands in the run's folder (`tokenizer/`, `data/SOURCE/`) and is found again by its fingerprint, so
//! running twice prepares once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use smollm3_corpus::remote::RemoteClient;
use smollm3_corpus::shards::CacheOptions;
use smollm3_corpus::store::{OpenOptions, StreamedStore};
use smollm3_corpus::tokenize::{TokenizeReport, held_out_folder, report, train_folder};
use smollm3_corpus::{Numbers, TokenStore, Tokenizer};
use smollm3_files::atomic_file::write_json;
use smollm3_files::io;
use smollm3_mixer::{Documents, SourceReader, StreamedReader, WindowReader};
use smollm3_recipe::{DocumentStarts, Recipe, SourceKind, Tokenizer as TokenizerSpec};
use smollm3_records::{Event, Listener};

use crate::error::{Result, SourceError};
use crate::source_text::{SourceText, cache};

/// Where a source's tokens lie, and how many there are.
#[derive(Debug)]
pub struct SourceStore {
    /// What is trained on: a folder, or the address of one.
    pub train: String,
    /// The folder of what is kept out, if anything is.
    pub held_out: Option<PathBuf>,
    /// Stands for the training store's contents.
    pub fingerprint: String,
    /// Tokens of the training store.
    pub tokens: u64,
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
    cache: CacheOptions,
    documents: DocumentStarts,
}

impl Data {
    /// Trains or loads the tokenizer and tokenises what is not tokenised yet, below `output`.
    ///
    /// # Errors
    /// A source or the tokenizer cannot be read, or the disk is full.
    pub fn prepare(recipe: &Recipe, output: &Path, listener: &mut dyn Listener) -> Result<Self> {
        let mut texts = BTreeMap::new();
        for (name, source) in &recipe.sources {
            if let Some(text) = SourceText::open(recipe, name, &source.kind, output)? {
                texts.insert(name.as_str(), text);
            }
        }
        let tokenizer_folder = output.join(TOKENIZER);
        let tokenizer = prepare_tokenizer(recipe, &texts, &tokenizer_folder, listener)?;
        let mut stores = BTreeMap::new();
        for (name, source) in &recipe.sources {
            let store = match (&source.kind, texts.get(name.as_str())) {
                (SourceKind::Tokens(tokens), _) => {
                    tokenised_store(name, &recipe.address(&tokens.folder), &cache(recipe, output))?
                }
                (_, Some(text)) => {
                    let folder = store_folder(output, name);
                    let report = text.tokenize(recipe, name, &tokenizer, &folder, listener)?;
                    listener.on(&Event::Note(describe(name, &report)))?;
                    own_store(recipe, &folder)?
                }
                (_, None) => continue,
            };
            stores.insert(name.clone(), store);
        }
        Ok(Self {
            tokenizer,
            tokenizer_folder,
            stores,
            cache: cache(recipe, output),
            documents: recipe.data.documents,
        })
    }

    /// What an earlier [`Data::prepare`] left in `output`, if it finished; no text is read.
    ///
    /// # Errors
    /// What is there is damaged.
    pub fn found(recipe: &Recipe, output: &Path) -> Result<Option<Self>> {
        let tokenizer_folder = output.join(TOKENIZER);
        let file = tokenizer_folder.join(TOKENIZER_FILE);
        if !file.is_file() {
            return Ok(None);
        }
        let mut stores = BTreeMap::new();
        for (name, source) in &recipe.sources {
            let store = match &source.kind {
                SourceKind::Tokens(tokens) => {
                    tokenised_store(name, &recipe.address(&tokens.folder), &cache(recipe, output))?
                }
                _ => {
                    let folder = store_folder(output, name);
                    if report(&folder)?.is_none() {
                        return Ok(None);
                    }
                    own_store(recipe, &folder)?
                }
            };
            stores.insert(name.clone(), store);
        }
        Ok(Some(Self {
            tokenizer: Tokenizer::load(&file)?.with_name(&recipe.run.name),
            tokenizer_folder,
            stores,
            cache: cache(recipe, output),
            documents: recipe.data.documents,
        }))
    }

    /// Where remote files lie while they are used.
    pub fn cache(&self) -> CacheOptions {
        self.cache.clone()
    }

    /// The store of a source.
    ///
    /// # Errors
    /// The recipe has no such source.
    pub fn store(&self, source: &str) -> Result<&SourceStore> {
        self.stores
            .get(source)
            .ok_or_else(|| SourceError::Refused(format!("source \"{source}\" has no token store")))
    }

    /// The rows of a source's training store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn reader(&self, source: &str, sequence_length: u64) -> Result<SourceReader> {
        let store = self.store(source)?;
        let vocabulary = self.tokenizer.info().vocab_size;
        Ok(match store.train.contains("://") {
            true => SourceReader::Streamed(StreamedReader::new(
                streamed(source, &store.train, &self.cache)?,
                sequence_length,
                vocabulary,
                self.documents(),
            )),
            false => SourceReader::Local(self.local_reader(Path::new(&store.train), sequence_length)?),
        })
    }

    fn documents(&self) -> Documents {
        match self.documents {
            DocumentStarts::Store => Documents::Index,
            DocumentStarts::EndOfText => Documents::EndOfText(self.tokenizer.info().end_of_text),
            DocumentStarts::Ignored => Documents::Ignored,
        }
    }

    /// The rows of the store in `folder`.
    ///
    /// # Errors
    /// It cannot be read.
    fn local_reader(&self, folder: &Path, sequence_length: u64) -> Result<WindowReader> {
        self.reader_of(folder, sequence_length, self.documents())
    }

    /// The rows of a store of held-out text, their documents always apart: what a model is measured on must not depend on
    /// how it was trained, and with documents joined their first tokens would be targets too.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn held_out_reader(&self, folder: &Path, sequence_length: u64) -> Result<WindowReader> {
        self.reader_of(folder, sequence_length, Documents::Index)
    }

    fn reader_of(&self, folder: &Path, sequence_length: u64, documents: Documents) -> Result<WindowReader> {
        let vocabulary = self.tokenizer.info().vocab_size;
        Ok(WindowReader::new(
            TokenStore::open(folder)?,
            sequence_length,
            vocabulary,
            documents,
        )?)
    }
}

/// The folder of the tokenizer in a run's.
pub const TOKENIZER: &str = "tokenizer";
const TOKENIZER_FILE: &str = "tokenizer.json";

fn store_folder(output: &Path, source: &str) -> PathBuf {
    output.join("data").join(source)
}

/// A store that this program made in `folder`.
fn own_store(recipe: &Recipe, folder: &Path) -> Result<SourceStore> {
    let train = train_folder(folder);
    let store = TokenStore::open(&train)?;
    Ok(SourceStore {
        train: train.to_string_lossy().into_owned(),
        held_out: (recipe.data.held_out.fraction() > 0.0).then(|| held_out_folder(folder)),
        fingerprint: store.fingerprint()?.to_hex(),
        tokens: store.len_tokens(),
    })
}

/// A store that somebody else made, here or behind an address.
fn tokenised_store(name: &str, place: &str, cache: &CacheOptions) -> Result<SourceStore> {
    let (fingerprint, tokens) = match place.contains("://") {
        true => {
            let store = streamed(name, place, cache)?;
            (store.fingerprint(), store.len_tokens())
        }
        false => {
            let store = TokenStore::open(place)?;
            (store.fingerprint()?, store.len_tokens())
        }
    };
    Ok(SourceStore {
        train: place.to_owned(),
        held_out: None,
        fingerprint: fingerprint.to_hex(),
        tokens,
    })
}

fn streamed(name: &str, address: &str, cache: &CacheOptions) -> Result<StreamedStore> {
    let client = RemoteClient::new(cache.retry)?;
    Ok(StreamedStore::open(
        name,
        &[address],
        cache,
        &OpenOptions::default(),
        client,
    )?)
}

fn prepare_tokenizer(
    recipe: &Recipe,
    texts: &BTreeMap<&str, SourceText>,
    folder: &Path,
    listener: &mut dyn Listener,
) -> Result<Tokenizer> {
    let file = folder.join(TOKENIZER_FILE);
    let tokenizer = match &recipe.tokenizer {
        // The run's folder belongs to this recipe (its fingerprint is checked first), so a file there is the one.
        _ if file.is_file() => Tokenizer::load(&file)?,
        TokenizerSpec::File(path) => Tokenizer::load(recipe.tokenizer_file(path))?,
        TokenizerSpec::Pretrained(id) => match recipe.hub_folders.get(id) {
            Some(found) => Tokenizer::load(found.join(TOKENIZER_FILE))?,
            None => {
                return Err(SourceError::Refused(format!(
                    "tokenizer.pretrained: {id} is not on this machine"
                )));
            }
        },
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
                    return Err(SourceError::Refused(format!(
                        "tokenizer.train.sources: \"{name}\" is not text; name a source that is"
                    )));
                };
                text.extend(source.sample(train.bytes.0 / names.len() as u64, recipe.run.seed)?);
            }
            let numbers = match train.single_digits {
                true => Numbers::SingleDigits,
                false => Numbers::UpToThreeDigits,
            };
            let texts = text.iter().map(String::as_str);
            let tokenizer = Tokenizer::train_with(texts, train.vocab_size, numbers)?;
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
        // What transformers' `AutoTokenizer` needs beside `tokenizer.json`.
        write_json(&folder.join("tokenizer_config.json"), &tokenizer.config())?;
        // Last, because its presence says that the folder is complete.
        tokenizer.save(&file)?;
    }
    Ok(tokenizer.with_name(&recipe.run.name))
}

fn describe(name: &str, report: &TokenizeReport) -> String {
    let skipped = match report.skipped.total() {
        0 => String::new(),
        rows => format!("; {rows} rows skipped, see report.json"),
    };
    format!(
        "{name}: {} documents, {} tokens ({:.2} bytes each), {} held out{skipped}; text {}",
        report.train.documents + report.held_out.documents,
        report.train.tokens + report.held_out.tokens,
        report.train.bytes_per_token(),
        report.held_out.documents,
        report.inputs.to_hex().get(..16).unwrap_or_default(),
    )
}

//! From a recipe's sources to the tokenizer and token stores on disk.
//!
//! Everything is written to the run's folder (`tokenizer/`, `data/SOURCE/`) and identified by its fingerprint, so a second
//! run prepares nothing again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use smollm3_corpus::remote::{Location, RemoteClient};
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

/// The token stores of a source.
#[derive(Debug)]
pub struct SourceStore {
    /// The training store: a folder, or the address of one.
    pub train: String,
    /// The folder of the held-out store, if any.
    pub held_out: Option<PathBuf>,
    /// The fingerprint of the training store.
    pub fingerprint: String,
    /// Tokens of the training store.
    pub tokens: u64,
}

/// The prepared data of a recipe.
#[derive(Debug)]
pub struct Data {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Folder with `tokenizer.json` and `tokenizer_config.json`, as in checkpoints.
    pub tokenizer_folder: PathBuf,
    /// Stores by source name.
    pub stores: BTreeMap<String, SourceStore>,
    cache: CacheOptions,
    documents: DocumentStarts,
}

impl Data {
    /// Trains or loads the tokenizer and tokenises what is not tokenised yet, in `output`.
    ///
    /// # Errors
    /// A source or the tokenizer cannot be read, or the disk is full.
    pub fn prepare(recipe: &Recipe, output: &Path, listener: &mut dyn Listener) -> Result<Self> {
        // A store that is missing ends a run before hours of tokenising.
        let stores = tokenised_stores(recipe, output)?;
        let mut texts = BTreeMap::new();
        for (name, source) in &recipe.sources {
            if let Some(text) = SourceText::open(recipe, name, &source.kind, output)? {
                texts.insert(name.as_str(), text);
            }
        }
        let tokenizer = prepare_tokenizer(recipe, &texts, &output.join(TOKENIZER), listener)?;
        for (name, text) in &texts {
            let report = text.tokenize(recipe, name, &tokenizer, &store_folder(output, name), listener)?;
            listener.on(&Event::Note(describe(name, &report)))?;
        }
        Self::open(recipe, output, tokenizer, stores)
    }

    /// With the stores in `output` beside `stores`, which were tokenised elsewhere.
    fn open(
        recipe: &Recipe,
        output: &Path,
        tokenizer: Tokenizer,
        mut stores: BTreeMap<String, SourceStore>,
    ) -> Result<Self> {
        for name in recipe.sources.keys() {
            if !stores.contains_key(name) {
                stores.insert(name.clone(), own_store(recipe, &store_folder(output, name))?);
            }
        }
        Ok(Self {
            tokenizer,
            tokenizer_folder: output.join(TOKENIZER),
            stores,
            cache: cache(recipe, output),
            documents: recipe.data.documents,
        })
    }

    /// The result of an earlier [`Data::prepare`] in `output`, if it finished; no text is read.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn found(recipe: &Recipe, output: &Path) -> Result<Option<Self>> {
        let file = output.join(TOKENIZER).join(TOKENIZER_FILE);
        if !file.is_file() {
            return Ok(None);
        }
        for (name, source) in &recipe.sources {
            let is_text = !matches!(source.kind, SourceKind::Tokens(_));
            if is_text && report(&store_folder(output, name))?.is_none() {
                return Ok(None);
            }
        }
        let tokenizer = Tokenizer::load(&file)?.with_name(&recipe.run.name);
        Self::open(recipe, output, tokenizer, tokenised_stores(recipe, output)?).map(Some)
    }

    /// Where remote files are cached.
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
        let train = &self.store(source)?.train;
        let vocabulary = self.tokenizer.info().vocab_size;
        let documents = match self.documents {
            DocumentStarts::Store => Documents::Index,
            DocumentStarts::EndOfText => Documents::EndOfText(self.tokenizer.info().end_of_text),
            DocumentStarts::Ignored => Documents::Ignored,
        };
        if train.contains("://") {
            let store = streamed(source, train, &self.cache)?;
            let reader = StreamedReader::new(store, sequence_length, vocabulary, documents);
            return Ok(SourceReader::Streamed(reader));
        }
        let reader = self.local_reader(Path::new(train), sequence_length, documents)?;
        Ok(SourceReader::Local(reader))
    }

    /// The rows of a store of held-out text, with their documents always separate: the measurement must not depend on how the
    /// model was trained, and in joined documents the first tokens would be targets too.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn held_out_reader(&self, folder: &Path, sequence_length: u64) -> Result<WindowReader> {
        self.local_reader(folder, sequence_length, Documents::Index)
    }

    fn local_reader(
        &self,
        folder: &Path,
        sequence_length: u64,
        documents: Documents,
    ) -> Result<WindowReader> {
        let store = TokenStore::open(folder)?;
        let vocabulary = self.tokenizer.info().vocab_size;
        Ok(WindowReader::new(store, sequence_length, vocabulary, documents)?)
    }
}

/// The tokenizer's folder in a run's folder.
pub const TOKENIZER: &str = "tokenizer";
const TOKENIZER_FILE: &str = "tokenizer.json";

fn store_folder(output: &Path, source: &str) -> PathBuf {
    output.join("data").join(source)
}

/// A store that this program wrote to `folder`.
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

/// The stores that were tokenised elsewhere.
fn tokenised_stores(recipe: &Recipe, output: &Path) -> Result<BTreeMap<String, SourceStore>> {
    let cache = cache(recipe, output);
    let mut stores = BTreeMap::new();
    for (name, source) in &recipe.sources {
        if let SourceKind::Tokens(tokens) = &source.kind {
            let store = tokenised_store(name, &recipe.address(&tokens.folder), &cache)?;
            stores.insert(name.clone(), store);
        }
    }
    Ok(stores)
}

/// A store that was tokenised elsewhere, local or remote.
fn tokenised_store(name: &str, address: &str, cache: &CacheOptions) -> Result<SourceStore> {
    let (train, fingerprint, tokens) = match Location::parse(name, address)? {
        Location::Local(folder) => {
            let store = TokenStore::open(&folder)?;
            (folder, store.fingerprint()?, store.len_tokens())
        }
        _ => {
            let store = streamed(name, address, cache)?;
            (address.to_owned(), store.fingerprint(), store.len_tokens())
        }
    };
    Ok(SourceStore {
        train,
        held_out: None,
        fingerprint: fingerprint.to_hex(),
        tokens,
    })
}

fn streamed(name: &str, address: &str, cache: &CacheOptions) -> Result<StreamedStore> {
    let client = RemoteClient::new(cache.retry)?;
    let options = OpenOptions::default();
    Ok(StreamedStore::open(name, &[address], cache, &options, client)?)
}

fn prepare_tokenizer(
    recipe: &Recipe,
    texts: &BTreeMap<&str, SourceText>,
    folder: &Path,
    listener: &mut dyn Listener,
) -> Result<Tokenizer> {
    let file = folder.join(TOKENIZER_FILE);
    let tokenizer = match &recipe.tokenizer {
        // The run's folder belongs to this recipe (its fingerprint is checked first), so an existing file is valid.
        _ if file.is_file() => Tokenizer::load(&file)?,
        TokenizerSpec::File(path) => Tokenizer::load(recipe.tokenizer_file(path))?,
        TokenizerSpec::Pretrained(id) => {
            let folder = recipe.hub_folders.get(id).ok_or_else(|| {
                SourceError::Refused(format!("tokenizer.pretrained: {id} is not on this machine"))
            })?;
            Tokenizer::load(folder.join(TOKENIZER_FILE))?
        }
        TokenizerSpec::Train(train) => {
            let all = texts.keys().copied();
            let names: Vec<&str> = match train.sources.is_empty() {
                true => all.collect(),
                false => train.sources.iter().map(String::as_str).collect(),
            };
            let mut progress = |done| {
                let what = format!("training a tokenizer of {} entries", train.vocab_size);
                listener.on(&Event::Preparing { what, done, total: 1 })
            };
            progress(0)?;
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
            progress(1)?;
            tokenizer
        }
    };
    if !file.is_file() {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        // Needed by transformers' `AutoTokenizer`.
        write_json(&folder.join("tokenizer_config.json"), &tokenizer.config())?;
        // Last, because its presence marks the folder as complete.
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

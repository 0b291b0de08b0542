//! The text of a recipe's source: numbered documents of this machine, or local and remote files of rows.

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_corpus::read::sample_rows;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::{CacheOptions, Shards, open_rows};
use smollm3_corpus::text::{Arithmetic, CargoSources, CargoText, DocumentSource, sample};
use smollm3_corpus::tokenize::{
    BadRows, FilesOptions, TokenizeOptions, TokenizeReport, is_held_out, tokenize, tokenize_files,
};
use smollm3_corpus::{CorpusError, Tokenizer};
use smollm3_files::io;
use smollm3_recipe::{BadRows as BadRowsChoice, Recipe, SourceKind};
use smollm3_records::{Event, Listener};

use crate::error::{Result, SourceError};

/// The text of one source.
pub(crate) enum SourceText {
    /// Documents by number.
    Documents(Box<dyn DocumentSource>),
    /// Files of rows and their text column.
    Rows { files: Box<dyn Shards>, column: String },
}

impl SourceText {
    /// Opens the text of source `name`; `None` for one that is already tokenised.
    ///
    /// # Errors
    /// Missing files, a store that cannot be listed, no `Cargo.lock` for a cargo source.
    pub(crate) fn open(
        recipe: &Recipe,
        name: &str,
        kind: &SourceKind,
        output: &Path,
    ) -> Result<Option<Self>> {
        let crates = |text| -> Result<Self> {
            let sources = CargoSources::find(workspace_manifest(recipe)?, text)?;
            Ok(Self::Documents(Box::new(sources)))
        };
        let rows = |addresses: &[String], column: &str| -> Result<Self> {
            let addresses: Vec<String> = addresses.iter().map(|address| recipe.address(address)).collect();
            Ok(Self::Rows {
                files: open_rows(name, &addresses, &cache(recipe, output))?,
                column: column.to_owned(),
            })
        };
        Ok(Some(match kind {
            SourceKind::CargoMarkdown => crates(CargoText::Markdown)?,
            SourceKind::CargoRust => crates(CargoText::Rust)?,
            SourceKind::Arithmetic(settings) => {
                Self::Documents(Box::new(Arithmetic::new(settings.seed, settings.documents)))
            }
            SourceKind::Jsonl(table) | SourceKind::Parquet(table) => rows(&table.paths, &table.column)?,
            SourceKind::Hub(hub) => {
                // Each dataset has a Parquet copy on this branch, with a folder per subset and split. Of the largest ones it
                // holds only the first gigabytes, in a folder with another name.
                let subset = hub.subset.as_deref().unwrap_or("default");
                let folder = format!("{subset}/{}", hub.split);
                let address = format!("hf://datasets/{}@refs%2Fconvert%2Fparquet/{folder}", hub.dataset);
                rows(&[address], &hub.column).map_err(|error| {
                    SourceError::Refused(format!(
                        "{error}\nThe Hub may hold no complete Parquet copy of `{folder}`: look at the dataset's \
                         files and write kind = \"parquet\" with paths = [\"hf://datasets/{}/…\"]",
                        hub.dataset
                    ))
                })?
            }
            SourceKind::Tokens(_) => return Ok(None),
        }))
    }

    /// About `bytes` of it; `seed` chooses among numbered documents.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn sample(&self, bytes: u64, seed: u64) -> Result<Vec<String>> {
        Ok(match self {
            Self::Documents(documents) => sample(documents.as_ref(), bytes, seed)?,
            Self::Rows { files, column } => sample_rows(files.as_ref(), column, bytes)?,
        })
    }

    /// Tokenises it into `folder`, unless that is done already.
    ///
    /// # Errors
    /// It cannot be read or written, or the listener ends the work.
    pub(crate) fn tokenize(
        &self,
        recipe: &Recipe,
        name: &str,
        tokenizer: &Tokenizer,
        folder: &Path,
        listener: &mut dyn Listener,
    ) -> Result<TokenizeReport> {
        let held_out = recipe.data.held_out.fraction();
        let mut refusal = None;
        let mut report_progress = |done, total| {
            let what = format!("tokenising {name}");
            refusal = listener.on(&Event::Preparing { what, done, total }).err();
            refusal.is_none()
        };
        let report = match self {
            Self::Documents(documents) => {
                let options = TokenizeOptions {
                    seed: recipe.run.seed,
                    held_out,
                    ..TokenizeOptions::default()
                };
                tokenize(documents.as_ref(), tokenizer, folder, &options, &mut |progress| {
                    report_progress(progress.documents, progress.of_documents)
                })
            }
            Self::Rows { files, column } => {
                let options = FilesOptions {
                    column: column.clone(),
                    held_out,
                    bad_rows: match recipe.data.bad_rows {
                        BadRowsChoice::Stop => BadRows::Stop,
                        BadRowsChoice::Skip => BadRows::Skip,
                    },
                    ..FilesOptions::default()
                };
                // Progress comes from another thread; the listener stays on this one.
                let (send, receive) = std::sync::mpsc::channel();
                std::thread::scope(|scope| {
                    let work = scope.spawn(|| {
                        let send = send;
                        tokenize_files(files.as_ref(), tokenizer, folder, &options, &mut |progress| {
                            send.send(progress).is_ok()
                        })
                    });
                    for progress in receive {
                        if !report_progress(progress.file_bytes, progress.of_file_bytes) {
                            break;
                        }
                    }
                    work.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            }
        };
        match (report, refusal) {
            (Err(CorpusError::Interrupted), Some(error)) => Err(error.into()),
            (report, _) => Ok(report?),
        }
    }
}

/// About `bytes` of documents of source `name`, without held-out ones.
///
/// # Errors
/// The source is unknown, tokenised already, or cannot be read.
pub fn source_sample(recipe: &Recipe, name: &str, bytes: u64, seed: u64) -> Result<Vec<String>> {
    let source = recipe.sources.get(name);
    let text = source.map(|source| SourceText::open(recipe, name, &source.kind, &recipe.run.output));
    let text = text
        .transpose()?
        .flatten()
        .ok_or_else(|| SourceError::Refused(format!("source `{name}` has no text to read")))?;
    let share = recipe.data.held_out.fraction();
    let mut texts = text.sample(bytes, seed)?;
    texts.retain(|text| share == 0.0 || !is_held_out(text, share));
    Ok(texts)
}

/// Where remote files are cached.
pub(crate) fn cache(recipe: &Recipe, output: &Path) -> CacheOptions {
    CacheOptions {
        folder: recipe.data.cache.clone().unwrap_or_else(|| output.join("cache")),
        bytes: recipe.data.cache_size.0,
        retry: RetryPolicy::default(),
    }
}

/// The `Cargo.toml` next to the nearest `Cargo.lock` in or above the recipe's folder.
fn workspace_manifest(recipe: &Recipe) -> Result<PathBuf> {
    let start = fs::canonicalize(&recipe.directory).map_err(io("find", &recipe.directory))?;
    let mut folders = start.ancestors();
    let found = folders.find(|folder| folder.join("Cargo.lock").is_file());
    found.map(|folder| folder.join("Cargo.toml")).ok_or_else(|| {
        SourceError::Refused(format!(
            "{}: a cargo source needs a Cargo.lock in this folder or above it; put the recipe into a cargo workspace",
            recipe.directory.display()
        ))
    })
}

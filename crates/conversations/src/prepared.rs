//! Conversations tokenised once and kept: `conversations/STAGE/` in the run's folder.
//!
//! The folder is made anew if its files, template, tokenizer or mask change. A run that is stopped meanwhile begins it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use smollm3_chat::ChatError;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::tokenize::is_held_out;
use smollm3_files::atomic_file::write_json;
use smollm3_mixer::Permutation;
use smollm3_recipe::{BadRows, Conversations, Recipe, Stage, VALIDATION, Validation};
use smollm3_records::{Event, Listener};
use smollm3_sources::Data;

use crate::document::{Document, Encoded, RowEncoder};
use crate::error::{ConversationsError, Result};
use crate::source::Rows;
use crate::store::{ConversationStore, ConversationWriter};

/// Raised when the same rows would become other tokens.
const FORMAT: u32 = 3;
const REPORT: &str = "report.json";
const TRAIN: &str = "train";

/// Counts of the rows of one `[[stage.data]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows in its files.
    pub rows: u64,
    /// Of them kept, as `fraction` or `rows` says.
    pub kept: u64,
    /// Of those left out, by reason. Without `data.bad_rows = "skip"` a row that the stage cannot read ends the work.
    pub left_out: BTreeMap<String, u64>,
    /// Of those in which something was replaced when they were read, by what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<String, u64>,
    /// Rows that the template does not write whole, by the kind of missing content (`stage.template_drops = "count"`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_drops: BTreeMap<String, u64>,
    /// Of those kept out of training.
    pub held_out: u64,
    /// Rows that are trained on.
    pub trained: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Of them learned.
    pub learned: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    fingerprint: String,
    data: BTreeMap<String, Report>,
}

/// The conversations of a stage, tokenised.
#[derive(Debug)]
pub struct Prepared {
    /// Those that are trained on.
    pub train: ConversationStore,
    /// Those that are held out, if any.
    pub held_out: Option<ConversationStore>,
    /// By name of the data.
    pub reports: BTreeMap<String, Report>,
    /// The fingerprint of all of it.
    pub fingerprint: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl Prepared {
    /// Opens the stage's folder, or makes it from the rows of `parts`.
    ///
    /// # Errors
    /// A row that the stage cannot read, a file that cannot be read or written, or a listener that ends the work.
    pub fn of(
        recipe: &Recipe,
        data: &Data,
        stage: &Stage,
        parts: &[Conversations],
        encoder: &dyn RowEncoder,
        listener: &mut dyn Listener,
    ) -> Result<Self> {
        let folder = folder(recipe, stage);
        let validation = stage.validation().and_then(Validation::data);
        let mut sources = Vec::new();
        for part in parts.iter().chain(&validation) {
            let rows = Rows::open(recipe, part, &data.cache(), encoder.generator())?;
            sources.push((part, rows));
        }
        let fingerprint = fingerprint(recipe, stage, &data.tokenizer, encoder, &sources)?;
        let made = match made(&folder) {
            Some(made) if made.fingerprint == fingerprint => made,
            _ => {
                let made = Made {
                    data: make(
                        recipe,
                        stage,
                        &data.tokenizer,
                        &folder,
                        &sources,
                        encoder,
                        listener,
                    )?,
                    fingerprint,
                };
                // Last, because its presence says that the folder is complete.
                write_json(&folder.join(REPORT), &made)?;
                made
            }
        };
        if stage.validation().is_some() && made.data.values().all(|report| report.held_out == 0) {
            return Err(ConversationsError::Refused(format!(
                "stage.{}.validation: no row is left to measure on; name more in `paths`, or raise data.held_out",
                stage.name
            )));
        }
        Ok(Self {
            train: ConversationStore::open(&folder.join(TRAIN))?,
            held_out: (made.data.values().any(|report| report.held_out > 0))
                .then(|| ConversationStore::open(&folder.join("held-out")))
                .transpose()?,
            reports: made.data,
            fingerprint: made.fingerprint,
            folder,
        })
    }
}

/// Rows kept back by `[data] held_out` that are measured.
const HELD_OUT: u64 = 256;

/// How many rows a stage is measured on at most: all of those that it names for it.
pub fn measured_rows(stage: &Stage) -> u64 {
    match stage.validation().and_then(Validation::data) {
        Some(_) => u64::MAX,
        None => HELD_OUT,
    }
}

/// Whether rows are those of the stage's `validation`, which are all measured and never trained on.
fn is_validation(stage: &Stage, data: &Conversations) -> bool {
    data.name == VALIDATION && stage.validation().is_some_and(|own| !own.paths.is_empty())
}

/// The data that an earlier run or preparation left for a stage in the folder of `recipe`'s run. No row of the data is read:
/// the stage itself notices a file that has changed since.
#[derive(Debug)]
pub struct Earlier {
    /// By name of the data.
    pub reports: BTreeMap<String, Report>,
    /// The folder of the store that is trained on.
    pub train: PathBuf,
}

impl Earlier {
    /// `None` if nothing is there, or it is not whole.
    pub fn of(recipe: &Recipe, stage: &Stage) -> Option<Self> {
        let folder = folder(recipe, stage);
        Some(Self {
            reports: made(&folder)?.data,
            train: folder.join(TRAIN),
        })
    }

    /// The sum over all data of a number of their reports.
    pub fn total(&self, of: fn(&Report) -> u64) -> u64 {
        self.reports.values().map(of).sum()
    }
}

fn folder(recipe: &Recipe, stage: &Stage) -> PathBuf {
    recipe.run.output.join("conversations").join(&stage.name)
}

/// The report in `folder`, if it is there and whole.
fn made(folder: &Path) -> Option<Made> {
    let text = fs::read_to_string(folder.join(REPORT)).ok()?;
    serde_json::from_str(&text).ok()
}

fn fingerprint(
    recipe: &Recipe,
    stage: &Stage,
    tokenizer: &Tokenizer,
    encoder: &dyn RowEncoder,
    sources: &[(&Conversations, Rows)],
) -> Result<String> {
    let data: Vec<_> = sources
        .iter()
        .map(|(data, rows)| {
            let kept = match data.rows {
                Some(rows) => json!({ "rows": rows }),
                None => json!(data.weight),
            };
            Ok(json!([data.name, kept, rows.identity()?]))
        })
        .collect::<Result<_>>()?;
    let mut all = json!({
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint()?.to_hex(),
        "rows": encoder.identity(),
        "seed": recipe.run.seed,
        "held_out": recipe.data.held_out,
        "bad_rows": recipe.data.bad_rows,
        "data": data,
    });
    // Left out where there is none, so that stores of before stay valid.
    if sources.iter().any(|(data, _)| is_validation(stage, data)) {
        all["validation"] = json!(true);
    }
    Ok(blake3::hash(all.to_string().as_bytes()).to_hex().to_string())
}

/// Two stores in `folder`, from all rows that are kept.
fn make(
    recipe: &Recipe,
    stage: &Stage,
    tokenizer: &Tokenizer,
    folder: &Path,
    sources: &[(&Conversations, Rows)],
    encoder: &dyn RowEncoder,
    listener: &mut dyn Listener,
) -> Result<BTreeMap<String, Report>> {
    let _ = fs::remove_file(folder.join(REPORT));
    let vocab_size = u64::from(tokenizer.info().vocab_size);
    let create = |part: &str| -> Result<ConversationWriter> {
        let part: PathBuf = folder.join(part);
        ConversationWriter::create(&part, tokenizer.name(), vocab_size)
    };
    let (mut train, mut held_out) = (create(TRAIN)?, create("held-out")?);
    let has_own = sources.iter().any(|(data, _)| is_validation(stage, data));
    let share = if has_own {
        0.0
    } else {
        recipe.data.held_out.fraction()
    };
    let mut reports = BTreeMap::new();
    for (data, rows) in sources {
        let total = rows.count()?;
        if let Some(rows) = data.rows.filter(|rows| *rows > total) {
            return Err(ConversationsError::Refused(format!(
                "stage.{}: {rows} rows of {} are wanted, but it has {total}; write fewer",
                stage.name, data.name
            )));
        }
        let only_measured = is_validation(stage, data);
        let wanted = KeptRows::new(recipe.run.seed, data, total);
        let mut report = Report {
            rows: total,
            ..Report::default()
        };
        let mut at = 0;
        rows.each(&encoder.columns(), |batch| {
            listener.on(&Event::Preparing {
                what: format!("tokenising {}", data.name),
                done: at,
                total,
            })?;
            let rows: Vec<usize> = (0..batch.rows().len())
                .filter(|index| wanted.holds(at + *index as u64))
                .collect();
            at += batch.rows().len() as u64;
            for what in rows.iter().flat_map(|index| batch.replaced(*index).kinds()) {
                *report.replaced.entry(what.to_owned()).or_default() += 1;
            }
            let done: Vec<Encoded> = rows
                .into_par_iter()
                .map(|index| match encoder.encode(tokenizer, &batch, index) {
                    Err(ConversationsError::Row { source, .. }) if recipe.data.bad_rows == BadRows::Skip => {
                        Ok(Encoded::LeftOut(match source {
                            ChatError::Dropped { .. } => "that the template does not write whole",
                            ChatError::Spelled { .. } => "that spell special tokens",
                            _ => "that could not be read",
                        }))
                    }
                    done => done,
                })
                .collect::<Result<_>>()?;
            for row in done {
                report.kept += 1;
                let (documents, held_out_by, dropped) = match row {
                    Encoded::LeftOut(reason) => {
                        *report.left_out.entry(reason.to_owned()).or_default() += 1;
                        continue;
                    }
                    Encoded::Kept {
                        documents,
                        held_out_by,
                        dropped,
                    } => (documents, held_out_by, dropped),
                };
                for kind in dropped {
                    *report.template_drops.entry(kind.to_owned()).or_default() += 1;
                }
                let is_held_out = only_measured || share > 0.0 && is_held_out(&held_out_by, share);
                report.held_out += u64::from(is_held_out);
                report.trained += u64::from(!is_held_out);
                for Document { ids, learned } in &documents {
                    if is_held_out {
                        held_out.push(ids, learned)?;
                        continue;
                    }
                    report.tokens += ids.len() as u64;
                    // The first token is never predicted.
                    report.learned += learned.iter().skip(1).filter(|learned| **learned).count() as u64;
                    train.push(ids, learned)?;
                }
            }
            Ok(())
        })?;
        listener.on(&Event::Preparing {
            what: format!("tokenising {}", data.name),
            done: total,
            total,
        })?;
        listener.on(&Event::Note(describe(&data.name, &report)))?;
        reports.insert(data.name.clone(), report);
    }
    if train.conversations() == 0 {
        let rows: Vec<String> = reports
            .iter()
            .map(|(name, report)| describe(name, report))
            .collect();
        return Err(ConversationsError::Refused(format!(
            "nothing is left to train on; mend the rows, or raise sequence_length where they are too long. {}",
            rows.join(". ")
        )));
    }
    train.finish()?;
    if held_out.conversations() > 0 {
        held_out.finish()?;
    }
    Ok(reports)
}

/// The rows of one `[[stage.data]]` that are kept: the first of a permutation, as many as its `fraction` or `rows` says.
struct KeptRows {
    order: Permutation,
    most: u64,
}

impl KeptRows {
    fn new(seed: u64, data: &Conversations, rows: u64) -> Self {
        let key = *blake3::hash(format!("{seed} {}", data.name).as_bytes()).as_bytes();
        Self {
            order: Permutation::new(rows, &key, 0),
            most: data.kept(rows),
        }
    }

    fn holds(&self, row: u64) -> bool {
        self.order.get(row).is_some_and(|place| place < self.most)
    }
}

fn describe(name: &str, report: &Report) -> String {
    let left_out = report.left_out.iter();
    let left_out: String = left_out
        .map(|(reason, rows)| format!(", {rows} {reason} left out"))
        .collect();
    let dropped = report.template_drops.iter();
    let dropped: String = dropped
        .map(|(kind, rows)| format!("; {kind} not written by the template in {rows}"))
        .collect();
    let replaced = report.replaced.iter();
    let replaced: String = replaced.map(|(what, rows)| format!(", {rows} {what}")).collect();
    format!(
        "{name}: {} of {} rows{left_out}{replaced}, {} held out; {} tokens, {} of them learned{dropped}",
        report.kept, report.rows, report.held_out, report.tokens, report.learned
    )
}

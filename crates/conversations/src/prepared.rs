//! Tokenised conversations, cached in `conversations/STAGE/` of the run's folder.
//!
//! Rank 0 rewrites the folder if its files, template, tokenizer or mask change, or if a run was stopped while writing it. For a
//! stage that has been trained in part, a change is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use smollm3_chat::ChatError;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::tokenize::is_held_out;
use smollm3_corpus::tokenizer::slow_note;
use smollm3_engine::Run;
use smollm3_engine::checkpoint::check_data;
use smollm3_engine::ranks::rank_zero_first;
use smollm3_files::atomic_file::write_json;
use smollm3_files::remove_if_present;
use smollm3_mixer::Permutation;
use smollm3_recipe::{BadRows, Conversations, Recipe, Stage, VALIDATION, Validation};
use smollm3_records::{Event, Listener};
use smollm3_sources::Data;

use crate::document::{Document, Encoded, RowEncoder};
use crate::error::{ConversationsError, Result};
use crate::source::SourceRows;
use crate::store::{ConversationStore, ConversationWriter};

/// Raised when the same rows would give other tokens.
const FORMAT: u32 = 4;
const REPORT: &str = "report.json";
const TRAIN: &str = "train";

/// Counts of the rows of one `[[stage.data]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows in its files.
    pub rows: u64,
    /// Rows selected by `fraction` or `rows`.
    pub kept: u64,
    /// Selected rows that were left out, by reason. Without `data.bad_rows = "skip"` an unreadable row is an error.
    pub left_out: BTreeMap<String, u64>,
    /// Selected rows with replacements made on reading, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<String, u64>,
    /// Rows that the template does not write completely, by the kind of missing content (`stage.template_drops = "count"`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_drops: BTreeMap<String, u64>,
    /// Held-out rows.
    pub held_out: u64,
    /// Training rows.
    pub trained: u64,
    /// Tokens of the training rows.
    pub tokens: u64,
    /// Learned tokens of the training rows.
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
    /// The training conversations.
    pub train: ConversationStore,
    /// The held-out ones, if any.
    pub held_out: Option<ConversationStore>,
    /// By name of the data.
    pub reports: BTreeMap<String, Report>,
    /// The fingerprint of all inputs.
    pub fingerprint: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl Prepared {
    /// Opens the stage's folder, or writes it from the rows of `parts`.
    ///
    /// # Errors
    /// An unreadable row, a file that cannot be read or written, or a listener that ends the work; rows that changed since the
    /// stage's newest checkpoint.
    pub fn of(
        recipe: &Recipe,
        data: &Data,
        stage: &Stage,
        parts: &[Conversations],
        encoder: &dyn RowEncoder,
        listener: &mut dyn Listener,
    ) -> Result<Self> {
        Self::opened(recipe, data, stage, parts, encoder, |fingerprint, sources| {
            let trained_on = [(stage.name.clone(), fingerprint.to_owned())].into();
            check_data(&recipe.run.output.join(&stage.name), &trained_on)?;
            let (tokenizer, folder) = (&data.tokenizer, folder(recipe, stage));
            make(recipe, stage, tokenizer, &folder, sources, encoder, listener)
        })
    }

    /// [`of`](Self::of) for all ranks: rank 0 writes the folder, the others find it.
    ///
    /// # Errors
    /// As [`of`](Self::of), or a rank reads other rows than rank 0.
    pub fn on_ranks(
        run: &Run,
        stage: &Stage,
        parts: &[Conversations],
        encoder: &dyn RowEncoder,
        listener: &mut dyn Listener,
    ) -> Result<Self> {
        let (recipe, data, ranks) = (&run.recipe, &run.data, &*run.ranks);
        let differ = || {
            Err(ConversationsError::Refused(format!(
                "stage \"{}\": {} does not read the rows that rank 0 has prepared in {}; all nodes must see the same \
                 files",
                stage.name,
                ranks.place(ranks.rank()),
                folder(recipe, stage).display()
            )))
        };
        rank_zero_first(ranks, || match ranks.rank() {
            0 => Self::of(recipe, data, stage, parts, encoder, listener),
            _ => Self::opened(recipe, data, stage, parts, encoder, |_, _| differ()),
        })
    }

    /// Opens the stage's folder. `make` writes its stores if they are not those of the fingerprint that it gets.
    fn opened(
        recipe: &Recipe,
        data: &Data,
        stage: &Stage,
        parts: &[Conversations],
        encoder: &dyn RowEncoder,
        make: impl FnOnce(&str, &[(&Conversations, SourceRows)]) -> Result<BTreeMap<String, Report>>,
    ) -> Result<Self> {
        let folder = folder(recipe, stage);
        let validation = stage.validation().and_then(Validation::data);
        let mut sources = Vec::new();
        for part in parts.iter().chain(&validation) {
            let rows = SourceRows::open(recipe, part, &data.cache(), encoder.generator())?;
            sources.push((part, rows));
        }
        let fingerprint = fingerprint(recipe, stage, &data.tokenizer, encoder, &sources)?;
        let made = match made(&folder) {
            Some(made) if made.fingerprint == fingerprint => made,
            _ => {
                let data = make(&fingerprint, &sources)?;
                let made = Made { fingerprint, data };
                // Last, because its presence marks the folder as complete.
                write_json(&folder.join(REPORT), &made)?;
                made
            }
        };
        let holds_out = made.data.values().any(|report| report.held_out > 0);
        if stage.validation().is_some() && !holds_out {
            return Err(ConversationsError::Refused(format!(
                "stage.{}.validation: no row is left to measure on; name more in `paths`, or raise data.held_out",
                stage.name
            )));
        }
        Ok(Self {
            train: ConversationStore::open(&folder.join(TRAIN))?,
            held_out: holds_out
                .then(|| ConversationStore::open(&folder.join("held-out")))
                .transpose()?,
            reports: made.data,
            fingerprint: made.fingerprint,
            folder,
        })
    }
}

/// Rows held out by `[data] held_out` that are evaluated.
const HELD_OUT: u64 = 256;

/// The maximum number of rows that a stage is evaluated on: all if it names its own.
pub fn measured_rows(stage: &Stage) -> u64 {
    match stage.validation().and_then(Validation::data) {
        Some(_) => u64::MAX,
        None => HELD_OUT,
    }
}

/// Whether rows are those of the stage's `validation`, which are all evaluated and never trained on.
fn is_validation(stage: &Stage, data: &Conversations) -> bool {
    data.name == VALIDATION && stage.validation().is_some_and(|own| !own.paths.is_empty())
}

/// A stage's data from an earlier run or preparation of `recipe`. The rows are not read: the stage itself detects changed
/// files.
#[derive(Debug)]
pub struct Earlier {
    /// By name of the data.
    pub reports: BTreeMap<String, Report>,
    /// The folder of the training store.
    pub train: PathBuf,
}

impl Earlier {
    /// `None` if there are none, or they are incomplete.
    pub fn of(recipe: &Recipe, stage: &Stage) -> Option<Self> {
        let folder = folder(recipe, stage);
        Some(Self {
            reports: made(&folder)?.data,
            train: folder.join(TRAIN),
        })
    }

    /// The sum of a count over all reports.
    pub fn total(&self, of: fn(&Report) -> u64) -> u64 {
        self.reports.values().map(of).sum()
    }
}

fn folder(recipe: &Recipe, stage: &Stage) -> PathBuf {
    recipe.run.output.join("conversations").join(&stage.name)
}

/// The report in `folder`, if it is readable.
fn made(folder: &Path) -> Option<Made> {
    let text = fs::read_to_string(folder.join(REPORT)).ok()?;
    serde_json::from_str(&text).ok()
}

fn fingerprint(
    recipe: &Recipe,
    stage: &Stage,
    tokenizer: &Tokenizer,
    encoder: &dyn RowEncoder,
    sources: &[(&Conversations, SourceRows)],
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
    // Left out if there is none, so that older stores stay valid.
    if sources.iter().any(|(data, _)| is_validation(stage, data)) {
        all["validation"] = json!(true);
    }
    Ok(blake3::hash(all.to_string().as_bytes()).to_hex().to_string())
}

/// Writes the two stores in `folder` from all selected rows.
fn make(
    recipe: &Recipe,
    stage: &Stage,
    tokenizer: &Tokenizer,
    folder: &Path,
    sources: &[(&Conversations, SourceRows)],
    encoder: &dyn RowEncoder,
    listener: &mut dyn Listener,
) -> Result<BTreeMap<String, Report>> {
    remove_if_present(&folder.join(REPORT))?;
    let vocab_size = u64::from(tokenizer.info().vocab_size);
    let create = |part: &str| ConversationWriter::create(&folder.join(part), tokenizer.name(), vocab_size);
    let (mut train, mut held_out) = (create(TRAIN)?, create("held-out")?);
    let share = match sources.iter().any(|(data, _)| is_validation(stage, data)) {
        true => 0.0,
        false => recipe.data.held_out.fraction(),
    };
    if let Some(component) = tokenizer.slow_because() {
        listener.on(&Event::Note(format!(
            "conversations are {}",
            slow_note(component)
        )))?;
    }
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
        let progress = |done| Event::Preparing {
            what: format!("tokenising {}", data.name),
            done,
            total,
        };
        let mut at = 0;
        rows.each(&encoder.columns(), |batch| {
            listener.on(&progress(at))?;
            let rows: Vec<usize> = (0..batch.rows().len())
                .filter(|index| wanted.holds(at + *index as u64))
                .collect();
            at += batch.rows().len() as u64;
            for what in rows.iter().flat_map(|index| batch.replaced(*index).kinds()) {
                count(&mut report.replaced, what);
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
                        count(&mut report.left_out, reason);
                        continue;
                    }
                    Encoded::Kept {
                        documents,
                        held_out_by,
                        dropped,
                    } => (documents, held_out_by, dropped),
                };
                dropped
                    .into_iter()
                    .for_each(|kind| count(&mut report.template_drops, kind));
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
        listener.on(&progress(total))?;
        listener.on(&Event::Note(describe(&data.name, &report)))?;
        reports.insert(data.name.clone(), report);
    }
    if train.conversations() == 0 {
        let rows: Vec<String> = reports
            .iter()
            .map(|(name, report)| describe(name, report))
            .collect();
        return Err(ConversationsError::Refused(format!(
            "nothing is left to train on; fix the rows, or raise sequence_length where they are too long. {}",
            rows.join(". ")
        )));
    }
    train.finish()?;
    if held_out.conversations() > 0 {
        held_out.finish()?;
    }
    Ok(reports)
}

/// The selected rows of one `[[stage.data]]`: the first of a permutation, as many as `fraction` or `rows` says.
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

/// Counts a row under `name`.
fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

fn describe(name: &str, report: &Report) -> String {
    let mut text = format!("{name}: {} of {} rows", report.kept, report.rows);
    for (reason, rows) in &report.left_out {
        text += &format!(", {rows} {reason} left out");
    }
    for (what, rows) in &report.replaced {
        text += &format!(", {rows} {what}");
    }
    text += &format!(
        ", {} held out; {} tokens, {} of them learned",
        report.held_out, report.tokens, report.learned
    );
    for (kind, rows) in &report.template_drops {
        text += &format!("; {kind} not written by the template in {rows}");
    }
    text
}

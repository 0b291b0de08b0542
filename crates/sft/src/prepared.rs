//! Conversations tokenised once and kept: `conversations/STAGE/` in the run's folder.
//!
//! The folder belongs to what it was made of (files, template, tokenizer, what is learned); if any of that changes it
//! is made anew. A run that is stopped meanwhile begins it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::tokenize::is_held_out;
use smollm3_engine::checkpoint::write_json;
use smollm3_engine::{Data, Event, Listener};
use smollm3_mixer::Permutation;
use smollm3_recipe::{BadRows, Conversations, FineTuning, Recipe, Stage, Start, TemplateChoice};

use crate::source::{Rows, conversation};
use crate::{ChatSetup, ConversationStore, ConversationWriter, Result, RowBatch, SftError};

/// Raised when the same rows would become other tokens.
const FORMAT: u32 = 1;
const REPORT: &str = "report.json";

/// What became of the rows of one `[[stage.data]]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows in its files.
    pub rows: u64,
    /// Of them kept, as its weight says.
    pub kept: u64,
    /// Of those no conversations, or refused by the template; without `data.bad_rows = "skip"` the first ends the work.
    #[serde(default)]
    pub skipped: u64,
    /// Of those left out because nothing in them is learned.
    pub nothing_to_learn: u64,
    /// Of those kept out of training.
    pub held_out: u64,
    /// Tokens that are trained on or shown.
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
    /// What is trained on.
    pub train: ConversationStore,
    /// What is not, if anything.
    pub held_out: Option<ConversationStore>,
    /// By name of the data.
    pub reports: BTreeMap<String, Report>,
    /// Stands for all of it.
    pub fingerprint: String,
}

impl Prepared {
    /// Opens what is there, or makes it.
    ///
    /// # Errors
    /// A row that is no conversation or that the template refuses, a file that cannot be read or written, or a listener
    /// that ends the work.
    pub fn of(
        recipe: &Recipe,
        data: &Data,
        stage: &Stage,
        fine_tuning: &FineTuning,
        setup: &ChatSetup,
        listener: &mut dyn Listener,
    ) -> Result<Self> {
        let folder = recipe.run.output.join("conversations").join(&stage.name);
        let mut sources = Vec::new();
        for part in &fine_tuning.data {
            sources.push((part, Rows::open(recipe, part, &data.cache())?));
        }
        let fingerprint = fingerprint(recipe, &data.tokenizer, setup, &sources)?;
        let report = folder.join(REPORT);
        let known = fs::read_to_string(&report)
            .ok()
            .and_then(|text| serde_json::from_str::<Made>(&text).ok());
        let made = match known {
            Some(made) if made.fingerprint == fingerprint => made,
            _ => {
                let made = Made {
                    data: make(recipe, &data.tokenizer, &folder, &sources, setup, listener)?,
                    fingerprint,
                };
                // Last, because its presence says that the folder is complete.
                write_json(&report, &made)?;
                made
            }
        };
        Ok(Self {
            train: ConversationStore::open(&folder.join("train"))?,
            held_out: (made.data.values().any(|report| report.held_out > 0))
                .then(|| ConversationStore::open(&folder.join("held-out")))
                .transpose()?,
            reports: made.data,
            fingerprint: made.fingerprint,
        })
    }
}

fn fingerprint(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    setup: &ChatSetup,
    sources: &[(&Conversations, Rows)],
) -> Result<String> {
    let data: Vec<_> = sources
        .iter()
        .map(|(data, rows)| Ok(json!([data.name, data.weight, rows.identity()?])))
        .collect::<Result<_>>()?;
    let all = json!({
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint()?.to_hex(),
        "template": setup.template.source(),
        "date": setup.render.date.map(|date| date.to_string()),
        "learned": format!("{:?}", setup.learned),
        "seed": recipe.run.seed,
        "held_out": recipe.data.held_out,
        "bad_rows": recipe.data.bad_rows,
        "data": data,
    });
    Ok(blake3::hash(all.to_string().as_bytes()).to_hex().to_string())
}

/// Two stores in `folder`, from all rows that are kept.
fn make(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    folder: &Path,
    sources: &[(&Conversations, Rows)],
    setup: &ChatSetup,
    listener: &mut dyn Listener,
) -> Result<BTreeMap<String, Report>> {
    let _ = fs::remove_file(folder.join(REPORT));
    let vocab_size = u64::from(tokenizer.info().vocab_size);
    let create = |part: &str| -> Result<ConversationWriter> {
        let part: PathBuf = folder.join(part);
        ConversationWriter::create(&part, tokenizer.name(), vocab_size)
    };
    let (mut train, mut held_out) = (create("train")?, create("held-out")?);
    let share = recipe.data.held_out.fraction();
    let mut reports = BTreeMap::new();
    for (data, rows) in sources {
        let total = rows.count()?;
        let wanted = Kept::new(recipe.run.seed, data, total);
        let mut report = Report {
            rows: total,
            ..Report::default()
        };
        let mut at = 0;
        rows.each(|batch| {
            listener.on(&Event::Preparing {
                what: format!("tokenising {}", data.name),
                done: at,
                total,
            })?;
            let rows: Vec<usize> = (0..batch.rows().len())
                .filter(|index| wanted.holds(at + *index as u64))
                .collect();
            at += batch.rows().len() as u64;
            let done: Vec<Option<Tokenised>> = rows
                .into_par_iter()
                .map(|index| match tokenised(tokenizer, setup, &batch, index, share) {
                    Err(SftError::Row { .. }) if recipe.data.bad_rows == BadRows::Skip => Ok(None),
                    row => row.map(Some),
                })
                .collect::<Result<_>>()?;
            for row in done {
                report.kept += 1;
                let Some(row) = row else {
                    report.skipped += 1;
                    continue;
                };
                // The first token is nobody's target.
                let learned = row.learned.iter().skip(1).filter(|learned| **learned).count() as u64;
                if learned == 0 {
                    report.nothing_to_learn += 1;
                    continue;
                }
                if row.held_out {
                    report.held_out += 1;
                    held_out.push(&row.ids, &row.learned)?;
                    continue;
                }
                report.tokens += row.ids.len() as u64;
                report.learned += learned;
                train.push(&row.ids, &row.learned)?;
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
        return Err(SftError::Refused(
            "no conversation is left to train on; report.json says what became of the rows".to_owned(),
        ));
    }
    train.finish()?;
    if held_out.conversations() > 0 {
        held_out.finish()?;
    }
    Ok(reports)
}

struct Tokenised {
    ids: Vec<u32>,
    learned: Vec<bool>,
    held_out: bool,
}

fn tokenised(
    tokenizer: &Tokenizer,
    setup: &ChatSetup,
    batch: &RowBatch,
    index: usize,
    share: f64,
) -> Result<Tokenised> {
    let talk = conversation(batch, index)?;
    let held_out = share > 0.0 && is_held_out(&json!(talk).to_string(), share);
    let (ids, learned) = setup.tokens(tokenizer, &talk).map_err(|source| SftError::Row {
        place: batch.place(index),
        source,
    })?;
    Ok(Tokenised {
        ids,
        learned,
        held_out,
    })
}

/// Which rows of one `[[stage.data]]` are kept: the first of a permutation, as many as its weight says, rounded down as the
/// original does.
struct Kept {
    order: Permutation,
    most: u64,
}

impl Kept {
    fn new(seed: u64, data: &Conversations, rows: u64) -> Self {
        let key = *blake3::hash(format!("{seed} {}", data.name).as_bytes()).as_bytes();
        Self {
            order: Permutation::new(rows, &key, 0),
            most: (rows as f64 * data.weight) as u64,
        }
    }

    fn holds(&self, row: u64) -> bool {
        self.order.get(row).is_some_and(|place| place < self.most)
    }
}

fn describe(name: &str, report: &Report) -> String {
    let nothing = match report.nothing_to_learn {
        0 => String::new(),
        rows => format!(", {rows} with nothing to learn left out"),
    };
    let skipped = match report.skipped {
        0 => String::new(),
        rows => format!(", {rows} that are no conversations left out"),
    };
    format!(
        "{name}: {} of {} rows{nothing}{skipped}, {} held out; {} tokens, {} of them learned",
        report.kept, report.rows, report.held_out, report.tokens, report.learned
    )
}

/// Tokenises the conversations of all stages whose template does not come from a checkpoint that a run has yet to make.
///
/// # Errors
/// As [`Prepared::of`].
pub fn prepare_conversations(recipe: &Recipe, data: &Data, listener: &mut dyn Listener) -> Result<()> {
    for stage in &recipe.stages {
        let Some(fine_tuning) = stage.fine_tuning() else {
            continue;
        };
        let later =
            fine_tuning.template == TemplateChoice::Checkpoint && matches!(stage.from, Start::Stage(_));
        if later {
            listener.on(&Event::Note(format!(
                "{}: its template is that of the stage before; its conversations are prepared when it runs",
                stage.name
            )))?;
            continue;
        }
        let setup = ChatSetup::of(recipe, &data.tokenizer, stage, fine_tuning)?;
        Prepared::of(recipe, data, stage, fine_tuning, &setup, listener)?;
    }
    Ok(())
}

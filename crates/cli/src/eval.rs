//! `smollm3 eval`: evaluates a checkpoint, with results as tables, as JSON, and by item.

mod choice;
mod long_context;
mod loss;
mod problems;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use smollm3_corpus::read::Columns;
use smollm3_eval::{DataRow, EvalError, ItemLog, data_hash, read_rows};
use smollm3_files::atomic_file::write_json;
use smollm3_inference::{TextModel, checkpoint_hash};

use crate::args::{EvalArgs, Suite};
use crate::interrupt::flag;
use crate::progress::style;

/// `smollm3 eval`.
pub fn eval(args: &EvalArgs, typed: &BTreeSet<String>) -> Result<()> {
    args.check(typed)?;
    match args.suite {
        Suite::LongContext => long_context::long_context(args),
        Suite::Loss => loss::loss(args),
        Suite::Choice(task) => choice::choice(args, task),
        Suite::Problems(task) => problems::problems(args, task),
    }
}

/// A running evaluation.
struct SuiteRun<'a, R> {
    args: &'a EvalArgs,
    model: TextModel,
    settings: Map<String, Value>,
    log: ItemLog<R>,
    progress: Progress,
}

/// The progress bar, which also stops the work when the user asks for it.
struct Progress {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    kept: bool,
}

impl Progress {
    fn report(&self, done: u64, total: u64) -> smollm3_eval::Result<()> {
        self.bar.set_length(total);
        self.bar.set_position(done);
        match self.stop.load(Ordering::Relaxed) {
            true => {
                self.bar.finish_and_clear();
                Err(EvalError::Interrupted { kept: self.kept })
            }
            false => Ok(()),
        }
    }
}

impl<'a, R: Serialize + DeserializeOwned> SuiteRun<'a, R> {
    /// Opens the log of an evaluation with the suite's own settings.
    fn begin(args: &'a EvalArgs, model: TextModel, own: Value) -> Result<Self> {
        let settings = settings_of(args, own)?;
        let log = match &args.out {
            Some(folder) => ItemLog::open(folder, &settings)?,
            None => ItemLog::in_memory(),
        };
        let known = log.records().len();
        if known > 0 {
            eprintln!("resuming after {known} items");
        }
        Ok(Self {
            args,
            model,
            settings,
            log,
            progress: Progress {
                bar: bar(args.suite.name()),
                stop: flag("stopping")?,
                kept: args.out.is_some(),
            },
        })
    }

    /// Prints the results and writes them to `--json` and `--out`.
    fn finish(self, title: &str, results: Value, table: &str) -> Result<()> {
        self.progress.bar.finish_and_clear();
        println!("{title}\n\n{table}");
        let all = json!({
            "checkpoint": self.args.checkpoint,
            "suite": self.args.suite.name(),
            "settings": self.settings,
            "results": results,
        });
        write_results(self.args, &all)?;
        if let Some(folder) = &self.args.out {
            let markdown =
                format!("# {title}\n\n{table}\n`items.jsonl` has the items, `settings.json` the settings.\n");
            self.log.finish(&all, &markdown)?;
            println!("wrote {}", folder.display());
        }
        Ok(())
    }
}

/// What the figures depend on: the suite's settings, the backend and, for a folder to resume from, hashes of the files.
fn settings_of(args: &EvalArgs, own: Value) -> Result<Map<String, Value>> {
    let mut settings = Map::new();
    let mut set = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    set("smollm3", json!(env!("CARGO_PKG_VERSION")));
    set("suite", json!(args.suite.name()));
    if args.out.is_some() {
        let hash = checkpoint_hash(args.checkpoint.folder()?)?;
        set("checkpoint_blake3", json!(hash));
        let files = [
            ("data", &args.data),
            ("shots_from", &args.shots_from),
            ("text", &args.text),
        ];
        for (key, files) in files.into_iter().filter(|(_, files)| !files.is_empty()) {
            set(&format!("{key}_blake3"), json!(data_hash(files)?));
        }
    }
    set("limit", json!(args.limit));
    set("backend", json!(args.compute.device.backend()));
    set("precision", json!(args.compute.precision()?));
    if let Value::Object(own) = own {
        settings.extend(own);
    }
    Ok(settings)
}

/// Rows of `--data` with their `columns`.
fn data_rows(args: &EvalArgs, columns: &Columns) -> Result<Vec<DataRow>> {
    if args.data.is_empty() {
        bail!("--suite {} needs questions; write --data FILE", args.suite.name());
    }
    Ok(read_rows(&args.data, columns)?)
}

/// The number of solved examples before each item, and the rows that they are taken from.
fn examples<T: Clone>(
    args: &EvalArgs,
    all: &[T],
    columns: &Columns,
    read: impl Fn(&[DataRow]) -> Result<Vec<T>>,
) -> Result<(usize, Vec<T>)> {
    let shots = args.shots.unwrap_or(0);
    let examples = match (shots, args.shots_from.as_slice()) {
        (0, []) => Vec::new(),
        (0, _) => bail!("--shots-from has no effect with --shots 0; leave one out"),
        (_, []) => all.to_vec(),
        (_, files) => read(&read_rows(files, columns)?)?,
    };
    Ok((shots, examples))
}

/// The first `--limit` items.
fn limited<T: Clone>(args: &EvalArgs, items: &[T]) -> Vec<T> {
    let most = args.limit.map_or(usize::MAX, |limit| limit as usize);
    items.iter().take(most).cloned().collect()
}

fn write_results(args: &EvalArgs, results: &Value) -> Result<()> {
    if let Some(path) = &args.json {
        write_json(path, results)?;
        println!("\nwrote {}", path.display());
    }
    Ok(())
}

fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(what);
    style(&bar, "{prefix} {bar:24} {pos}/{len}  {eta} left");
    bar
}

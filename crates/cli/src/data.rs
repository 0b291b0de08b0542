//! `smollm3 data …`: tokenizes, downloads, prepares data, and shows their order.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{HumanDuration, ProgressBar};
use serde::Serialize;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::fetch::fetch;
use smollm3_corpus::remote::{RemoteClient, RetryPolicy};
use smollm3_corpus::shards::open_rows;
use smollm3_corpus::tokenize::{FilesOptions, FilesProgress, TokenizeReport, merge_stores, tokenize_files};
use smollm3_corpus::tokenizer::slow_note;
use smollm3_engine::RankSlice;
use smollm3_hub::Wanted;
use smollm3_mixer::{Mixer, Pick};
use smollm3_pipeline::{found_data, prepare};
use smollm3_pretrain::{MixedRows, stage_order};
use smollm3_recipe::{Recipe, Stage, Training};
use smollm3_records::Listeners;

use crate::args::{FetchArgs, LogFormat, MergeStoresArgs, OrderArgs, RecipeArgs, TokenizeArgs};
use crate::hub::{BYTES_BAR, local_folder};
use crate::interrupt::{EndsPreparing, flag};
use crate::logs::Logs;
use crate::progress::{Progress, style};

const STOPPING: &str = "stopping; finished work is kept";

/// `smollm3 data tokenize`.
pub fn tokenize(args: &TokenizeArgs) -> Result<()> {
    let name = args.name.clone().unwrap_or_else(|| {
        let folder = args.out.file_name().unwrap_or(args.out.as_os_str());
        folder.to_string_lossy().into_owned()
    });
    let tokenizer = Tokenizer::load(local_folder(&args.tokenizer, Wanted::TOKENIZER)?)?;
    let files = open_rows(&name, &args.inputs, &args.cache.options(args.out.join("cache")))?;
    let options = FilesOptions {
        column: args.column.clone(),
        held_out: args.held_out.fraction(),
        bad_rows: args.bad_rows,
        threads: args.threads,
        worker: args.shard,
        ..FilesOptions::default()
    };
    let stop = flag(STOPPING)?;
    let mut bar = TokenizeBar::new();
    let report = tokenize_files(files.as_ref(), &tokenizer, &args.out, &options, &mut |progress| {
        bar.show(&progress);
        !stop.load(Ordering::Relaxed)
    });
    bar.bar.finish_and_clear();
    println!("{}", describe(&report?, &args.out));
    Ok(())
}

/// `smollm3 data merge-stores`.
pub fn merge(args: &MergeStoresArgs) -> Result<()> {
    let report = merge_stores(&args.folders, &args.out)?;
    println!("{}", describe(&report, &args.out));
    Ok(())
}

fn describe(report: &TokenizeReport, folder: &Path) -> String {
    let mut lines = vec![format!(
        "{}: {} documents, {} tokens, {:.3} bytes per token",
        folder.display(),
        report.train.documents,
        report.train.tokens,
        report.train.bytes_per_token()
    )];
    let held_out = &report.held_out;
    if held_out.documents > 0 {
        lines.push(format!(
            "  held out: {} documents, {} tokens",
            held_out.documents, held_out.tokens
        ));
    }
    if let Some(component) = &report.slow_because {
        lines.push(format!("  {}", slow_note(component)));
    }
    let replaced = report.replaced.iter();
    lines.extend(replaced.map(|(what, documents)| format!("  replaced: in {documents} documents, {what}")));
    let skipped = report.skipped.rows.iter();
    lines.extend(skipped.map(|(reason, rows)| format!("  skipped: {rows} rows, {reason}")));
    let examples = report.skipped.examples.iter();
    lines.extend(examples.map(|example| format!("    {example}")));
    lines.join("\n")
}

/// A bar with documents and megabytes per second, and the time left.
struct TokenizeBar {
    bar: ProgressBar,
    begin: Instant,
    /// Documents and bytes of text that earlier calls have done.
    before: Option<(u64, u64)>,
}

impl TokenizeBar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        style(&bar, "{bar:24} {percent}%  {wide_msg}");
        Self {
            bar,
            begin: Instant::now(),
            before: None,
        }
    }

    fn show(&mut self, progress: &FilesProgress) {
        let now = (progress.documents, progress.text_bytes);
        let before = *self.before.get_or_insert(now);
        let elapsed = self.begin.elapsed();
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        self.bar.set_length(progress.of_file_bytes);
        self.bar.set_position(progress.file_bytes);
        let left = progress.time_left(elapsed).map(|time| {
            let whole = Duration::from_secs(time.as_secs());
            format!(", {} left", HumanDuration(whole))
        });
        self.bar.set_message(format!(
            "{} of {} files, {} documents, {:.0} documents/s, {:.1} MB/s{}",
            progress.files,
            progress.of_files,
            progress.documents,
            rate(now.0, before.0),
            rate(now.1, before.1) / 1e6,
            left.unwrap_or_default(),
        ));
    }
}

/// `smollm3 data fetch`.
pub fn fetch_files(args: &FetchArgs) -> Result<()> {
    const SOURCE: &str = "fetch";
    let client = RemoteClient::new(RetryPolicy::default())?;
    let files = client.list(SOURCE, &args.addresses, &|_| true)?;
    let stop = flag(STOPPING)?;
    let bar = ProgressBar::new(files.iter().map(|file| file.shard.bytes).sum());
    style(&bar, BYTES_BAR);
    let fetched = fetch(SOURCE, &files, &args.to, &client, &|progress| {
        bar.set_position(progress.bytes);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let done = fetched?;
    println!(
        "{}: {} files, {} bytes",
        args.to.display(),
        done.files,
        done.bytes
    );
    Ok(())
}

/// `smollm3 data prepare`.
pub fn prepare_data(args: &RecipeArgs, logs: LogFormat) -> Result<()> {
    let mut recipe = args.load()?;
    let stop = flag(STOPPING)?;
    let listeners = Listeners::default().with(EndsPreparing(stop));
    let mut listeners = match logs {
        LogFormat::Text => listeners.with(Progress::of_run(Vec::new())),
        LogFormat::Json => listeners.with(Logs),
    };
    Ok(prepare(&mut recipe, &mut listeners)?)
}

/// The sequences of a step, as printed by `data order --json`.
#[derive(Serialize)]
struct StepOrder<'a> {
    stage: &'a str,
    step: u64,
    phase: &'a str,
    sequences: Vec<SequenceOrder<'a>>,
}

#[derive(Serialize)]
struct SequenceOrder<'a> {
    /// Position in the global batch.
    index: u64,
    source: &'a str,
    /// Number of earlier sequences from the source in the stage.
    ordinal: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<String>>,
}

/// `smollm3 data order`.
pub fn order(args: &OrderArgs) -> Result<()> {
    let recipe = args.recipe.load()?;
    let (stage, training) = training_stage(&recipe, args.stage.as_deref())?;
    let data = found_data(&recipe)?;
    let rows = data
        .as_ref()
        .map(|data| MixedRows::new(&recipe, &training, data, RankSlice::whole(&training)))
        .transpose()?;
    let without_data;
    let mixer = match &rows {
        Some(rows) => rows.order(),
        None => {
            without_data = stage_order(&recipe, &training, |_| None)?;
            &without_data
        }
    };
    let text = match (args.text, &rows, &data) {
        (false, ..) => None,
        (true, Some(rows), Some(data)) => Some((rows, &data.tokenizer)),
        (true, ..) => bail!(
            "--text needs the data, which are not in {}; run `smollm3 data prepare {}` first",
            recipe.run.output.display(),
            args.recipe.recipe.display()
        ),
    };
    if args.count == 0 {
        bail!("--count 0 shows nothing; write 1 or more");
    }
    for step in args.step..args.step.saturating_add(args.count) {
        let picks = picks(mixer, &training, step, args)?;
        let shown: Vec<Option<Vec<String>>> = match text {
            None => vec![None; picks.len()],
            Some((rows, tokenizer)) => {
                let sequences = rows.sequences(step)?;
                picks
                    .iter()
                    .map(|(index, _)| documents(&sequences[*index as usize], tokenizer).map(Some))
                    .collect::<Result<_>>()?
            }
        };
        let phase = training
            .phases
            .iter()
            .find(|phase| step <= training.end_step(phase))
            .map_or("", |phase| phase.name.as_str());
        let order = StepOrder {
            stage: &stage.name,
            step,
            phase,
            sequences: picks
                .into_iter()
                .zip(shown)
                .map(|((index, pick), documents)| SequenceOrder {
                    index,
                    source: &mixer.config().sources[pick.source].name,
                    ordinal: pick.ordinal,
                    epoch: pick.place.map(|place| place.epoch),
                    window: pick.place.map(|place| place.window),
                    documents,
                })
                .collect(),
        };
        match args.json {
            true => println!("{}", serde_json::to_string(&order)?),
            false => print_order(&order, mixer.steps()),
        }
    }
    Ok(())
}

/// The stage of this name, or the first; it must train on token stores.
pub fn training_stage<'a>(recipe: &'a Recipe, name: Option<&str>) -> Result<(&'a Stage, Training)> {
    let stage = match name {
        Some(name) => recipe.stage(name)?,
        None => recipe.stages.first().context("the recipe has no stage")?,
    };
    let training = stage
        .training()
        .with_context(|| format!("stage \"{}\" reads no token stores", stage.name))?;
    Ok((stage, training))
}

/// The picks of a step, or of one rank in it, with their positions in the global batch.
fn picks(mixer: &Mixer, training: &Training, step: u64, args: &OrderArgs) -> Result<Vec<(u64, Pick)>> {
    let batch = mixer.batch(step)?;
    let numbered: Vec<(u64, Pick)> = (0..).zip(batch).collect();
    match (args.rank, args.world) {
        (Some(rank), Some(world)) => {
            let slices = smollm3_mixer::slice_batch(&numbered, rank, world, training.micro_batch.0)?;
            Ok(slices.concat())
        }
        _ => Ok(numbered),
    }
}

/// The texts of a window's documents; the first and the last are usually cut.
fn documents(sequence: &smollm3_mixer::Sequence, tokenizer: &Tokenizer) -> Result<Vec<String>> {
    let ids = sequence.inputs();
    let starts = sequence.document_starts();
    let ends = starts.iter().copied().skip(1).chain([ids.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| Ok(tokenizer.decode(&ids[*start..end], false)?))
        .collect()
}

fn print_order(order: &StepOrder<'_>, steps: u64) {
    println!(
        "{} step {} of {steps}, {}: {} sequences",
        order.stage,
        order.step,
        order.phase,
        order.sequences.len()
    );
    let width = order
        .sequences
        .iter()
        .map(|sequence| sequence.source.len())
        .max()
        .unwrap_or(0);
    for sequence in &order.sequences {
        let place = match (sequence.epoch, sequence.window) {
            (Some(epoch), Some(window)) => format!("epoch {epoch}, window {window}"),
            _ => format!("sequence {} of the source", sequence.ordinal),
        };
        println!("{:>6}  {:width$}  {place}", sequence.index, sequence.source);
        for document in sequence.documents.iter().flatten() {
            println!("        | {}", excerpt(document));
        }
    }
}

/// The beginning of a document on one line.
fn excerpt(document: &str) -> String {
    const SHOWN: usize = 90;
    let line: String = document.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The folder of a token store: the path itself, or its `train`.
pub fn store_folder(path: &Path) -> PathBuf {
    let train = smollm3_corpus::tokenize::train_folder(path);
    if train.is_dir() { train } else { path.to_owned() }
}

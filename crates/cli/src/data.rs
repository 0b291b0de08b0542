//! `smollm3 data …`: text to tokens, remote files to disk, and the order they are read in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde::Serialize;
use smollm3_corpus::fetch::fetch;
use smollm3_corpus::remote::{RemoteClient, RetryPolicy};
use smollm3_corpus::shards::{CacheOptions, open_rows};
use smollm3_corpus::tokenize::{
    BadRows, FilesOptions, FilesProgress, TokenizeReport, merge_stores, tokenize_files,
};
use smollm3_corpus::{CorpusError, Tokenizer};
use smollm3_engine::RankSlice;
use smollm3_hub::Wanted;
use smollm3_mixer::{Mixer, Pick};
use smollm3_pipeline::prepare;
use smollm3_pretrain::{MixedRows, stage_order};
use smollm3_recipe::{Recipe, Stage, Training};
use smollm3_records::Listeners;
use smollm3_sources::Data;

use crate::args::{self, FetchArgs, LogFormat, MergeStoresArgs, OrderArgs, PrepareArgs, TokenizeArgs};
use crate::hub::{BYTES_BAR, local_folder};
use crate::interrupt::{EndsPreparing, STOPPED, flag};
use crate::logs::Logs;
use crate::progress::{Progress, style};

const STOPPING: &str = "stopping; what is finished stays";

/// `smollm3 data tokenize`.
pub fn tokenize(args: &TokenizeArgs) -> Result<ExitCode> {
    let name = args.name.clone().unwrap_or_else(|| {
        let folder = args.out.file_name().unwrap_or(args.out.as_os_str());
        folder.to_string_lossy().into_owned()
    });
    let tokenizer = Tokenizer::load(local_folder(&args.tokenizer, Wanted::TOKENIZER)?)?;
    let cache = CacheOptions {
        folder: args.cache.cache.clone().unwrap_or_else(|| args.out.join("cache")),
        bytes: args.cache.cache_size.0,
        retry: RetryPolicy::default(),
    };
    let files = open_rows(&name, &args.inputs, &cache)?;
    let options = FilesOptions {
        column: args.column.clone(),
        held_out: args.held_out.fraction(),
        bad_rows: match args.bad_rows {
            args::BadRows::Stop => BadRows::Stop,
            args::BadRows::Skip => BadRows::Skip,
        },
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
    match report {
        Ok(report) => println!("{}", describe(&report, &args.out)),
        Err(CorpusError::Interrupted) => return Ok(stopped()),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// `smollm3 data merge-stores`.
pub fn merge(args: &MergeStoresArgs) -> Result<ExitCode> {
    let report = merge_stores(&args.folders, &args.out)?;
    println!("{}", describe(&report, &args.out));
    Ok(ExitCode::SUCCESS)
}

fn stopped() -> ExitCode {
    eprintln!("stopped; the same command goes on from there");
    ExitCode::from(STOPPED)
}

fn describe(report: &TokenizeReport, folder: &Path) -> String {
    let mut text = format!(
        "{}: {} documents, {} tokens, {:.3} bytes a token",
        folder.display(),
        report.train.documents,
        report.train.tokens,
        report.train.bytes_per_token()
    );
    if report.held_out.documents > 0 {
        text.push_str(&format!(
            "\n  kept out: {} documents, {} tokens",
            report.held_out.documents, report.held_out.tokens
        ));
    }
    if let Some(component) = &report.slow_because {
        text.push_str(&format!(
            "\n  slow: encoded by tokenizers 0.22, for tokenizers 1.0 could give other ids for {component}"
        ));
    }
    for (what, documents) in &report.replaced {
        text.push_str(&format!("\n  replaced: in {documents} documents, {what}"));
    }
    for (reason, rows) in &report.skipped.rows {
        text.push_str(&format!("\n  skipped: {rows} rows, {reason}"));
    }
    for example in &report.skipped.examples {
        text.push_str(&format!("\n    {example}"));
    }
    text
}

/// Documents and megabytes a second, and the time left.
struct TokenizeBar {
    bar: ProgressBar,
    begin: Instant,
    /// Documents and bytes of text done before this call.
    before: Option<(u64, u64)>,
}

impl TokenizeBar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent}%  {wide_msg}") {
            bar.set_style(style);
        }
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
pub fn fetch_files(args: &FetchArgs) -> Result<ExitCode> {
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
    match fetched {
        Ok(done) => {
            println!(
                "{}: {} files, {} bytes",
                args.to.display(),
                done.files,
                done.bytes
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(CorpusError::Interrupted) => Ok(stopped()),
        Err(error) => Err(error.into()),
    }
}

/// `smollm3 data prepare`.
pub fn prepare_data(args: &PrepareArgs, logs: LogFormat) -> Result<ExitCode> {
    let mut recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let stop = flag(STOPPING)?;
    let listeners = Listeners::default().with(EndsPreparing(stop));
    let mut listeners = match logs {
        LogFormat::Text => listeners.with(Progress::of_run(Vec::new())),
        LogFormat::Json => listeners.with(Logs),
    };
    match prepare(&mut recipe, &mut listeners) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is_interrupted() => Ok(stopped()),
        Err(error) => Err(error.into()),
    }
}

/// One step's sequences, as `data order --json` prints them.
#[derive(Serialize)]
struct StepOrder<'a> {
    stage: &'a str,
    step: u64,
    phase: &'a str,
    sequences: Vec<SequenceOrder<'a>>,
}

#[derive(Serialize)]
struct SequenceOrder<'a> {
    /// Position in the step's batch.
    index: u64,
    source: &'a str,
    /// Sequences taken from the source before, over the whole stage.
    ordinal: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<String>>,
}

/// `smollm3 data order`.
pub fn order(args: &OrderArgs) -> Result<ExitCode> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let (stage, training) = training_stage(&recipe, args.stage.as_deref())?;
    let data = found_data(&recipe)?;
    let rows = data
        .as_ref()
        .map(|data| MixedRows::new(&recipe, &training, data, RankSlice::whole(&training)))
        .transpose()?;
    let without = match &rows {
        Some(_) => None,
        None => Some(stage_order(&recipe, &training, |_| None)?),
    };
    let mixer = match (&rows, &without) {
        (Some(rows), _) => rows.order(),
        (None, Some(mixer)) => mixer,
        (None, None) => unreachable!("one of the two was made"),
    };
    let text = match (args.text, &rows, &data) {
        (false, ..) => None,
        (true, Some(rows), Some(data)) => Some((rows, &data.tokenizer)),
        (true, ..) => bail!(
            "--text needs the data, which {} does not hold yet; run `smollm3 data prepare {}` first",
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
    Ok(ExitCode::SUCCESS)
}

/// The stage of this name, or the first; it must be one that trains.
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

/// The prepared data of a recipe, if its output folder is its own and they are there.
pub fn found_data(recipe: &Recipe) -> Result<Option<Data>> {
    match smollm3_records::belongs(recipe)? {
        true => Ok(Data::found(recipe, &recipe.run.output)?),
        false => Ok(None),
    }
}

/// The picks of a step with their positions in the batch: all of them, or those of a rank.
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

/// The texts of a window's documents, the first and last of them mostly cut.
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
            _ => format!("its sequence {}", sequence.ordinal),
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

/// The token store folder of a path given on the command line: itself, or its `train`.
pub fn store_folder(path: &Path) -> PathBuf {
    let train = smollm3_corpus::tokenize::train_folder(path);
    if train.is_dir() { train } else { path.to_owned() }
}

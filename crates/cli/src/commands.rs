//! One function a command.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use smollm3_corpus::Tokenizer;
use smollm3_engine::dtype;
use smollm3_estimate::{Machine, estimate};
use smollm3_files::atomic_file::write_atomically;
use smollm3_hub::Depth;
use smollm3_inference::{Continuation, TextModel};
use smollm3_model::hf::GenerationConfig;
use smollm3_monitor::{Prometheus, RunFiles, TensorBoard, Watch, closing_table, report};
use smollm3_pipeline::{open_as, prepared_data, run_stages};
use smollm3_recipe::{
    Facts, Recipe, Source, SourceKind, Stage, StageData, Tokenizer as TokenizerSpec, TokenizerFacts,
};
use smollm3_records::{Listeners, Metrics};
use smollm3_sources::SourceStore;

use crate::args::{
    DeviceArgs, GenerateArgs, LogFormat, PlanArgs, RecipeArgs, ReportArgs, RunArgs, StatusArgs,
};
use crate::data::found_data;
use crate::hub::locate;
use crate::interrupt::{EndsPreparing, flag};
use crate::logs::{self, Logs, RankLog};
use crate::progress::Progress;
use crate::ranks::Rank;
use crate::rates::measured;
use crate::sample;

fn load(args: &RecipeArgs, device: &DeviceArgs) -> Result<Recipe> {
    let mut overrides = args.overrides.clone();
    overrides.extend(device.backend.iter().map(|name| format!("run.backend={name}")));
    overrides.extend(device.device.iter().map(|name| format!("run.device={name}")));
    Ok(Recipe::load(&args.recipe, &overrides)?)
}

pub fn run(args: &RunArgs, logs: LogFormat) -> Result<ExitCode> {
    let rank = Rank::start(Duration::from_secs(args.rank_timeout))?;
    let log = match rank.all.world() {
        1 => {
            logs::init(logs);
            None
        }
        _ => Some(logs::init_rank(logs, rank.all.rank())),
    };
    let stop = flag("stopping at the next safe point; what is done is kept")?;
    let outcome = run_as(&rank, args, logs, log.as_ref(), &stop);
    rank.end(outcome, &stop)
}

fn run_as(
    rank: &Rank,
    args: &RunArgs,
    logs: LogFormat,
    log: Option<&RankLog>,
    stop: &Arc<AtomicBool>,
) -> Result<ExitCode> {
    let recipe = load(&args.recipe, &args.device)?;
    let position = |name: &str| -> Result<usize> {
        recipe.stage(name)?;
        Ok(recipe
            .stages
            .iter()
            .position(|stage| stage.name == name)
            .unwrap_or(0))
    };
    let first = args.from.as_deref().map_or(Ok(0), position)?;
    let last = args
        .until
        .as_deref()
        .map_or(Ok(recipe.stages.len() - 1), position)?;
    if first > last {
        bail!(
            "--from comes after --until; the recipe's order is {}",
            names(&recipe)
        );
    }

    let mut listeners = Listeners::default();
    if rank.is_first() {
        listeners = shown(&recipe.stages[first..=last], args, logs)?.with(EndsPreparing(Arc::clone(stop)));
    }
    if log.is_some() || logs == LogFormat::Json {
        listeners = listeners.with(Logs);
    }
    let device = rank.device(&recipe)?;
    let run = open_as(Arc::clone(&rank.all), device.as_deref(), recipe, &mut listeners)?;
    if let Some(log) = log {
        log.open(&run.output, rank.all.rank())?;
    }
    run_stages(&run, first..=last, stop, &mut listeners)?;
    drop(listeners);
    if rank.is_first() {
        let files = RunFiles::read(&run.output)?;
        print!("{}", closing_table(&files));
        print!("{}", sample::closing_sample(&run)?);
        let page = run.output.join("report.html");
        let report = report::report(&[files]);
        write_atomically(&page, report.as_bytes())?;
        println!("Report: {}", page.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Who writes down and shows what happens in the stages.
fn shown(stages: &[Stage], args: &RunArgs, logs: LogFormat) -> Result<Listeners> {
    let mut listeners = Listeners::default()
        .with(Metrics::default())
        .with(TensorBoard::default());
    if logs == LogFormat::Text {
        let tokens = |stage: &Stage| match &stage.data {
            StageData::Merge(_) => Some(0),
            _ => stage
                .planned()
                .map(|training| training.total_steps() * training.tokens_per_step()),
        };
        let stages = stages.iter();
        listeners = listeners.with(Progress::of_run(
            stages.map(|stage| (stage.name.clone(), tokens(stage))).collect(),
        ));
    }
    if let Some(port) = args.metrics_port {
        let served = Prometheus::serve(port)?;
        match logs {
            LogFormat::Text => eprintln!("metrics at http://{}/metrics", served.address),
            LogFormat::Json => tracing::info!(address = %served.address, "serving metrics"),
        }
        listeners = listeners.with(served);
    }
    Ok(listeners)
}

pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    print!("{}", smollm3_monitor::status::status(&RunFiles::read(&args.run)?));
    Ok(ExitCode::SUCCESS)
}

pub fn report(args: &ReportArgs) -> Result<ExitCode> {
    if args.watch {
        return watch(args);
    }
    let runs = args.runs.iter().map(|run| RunFiles::read(run));
    let page = report::report(&runs.collect::<Result<Vec<_>, _>>()?);
    // As it is: this may be a pipe.
    std::fs::write(&args.output, page)
        .with_context(|| format!("{}: cannot write the report", args.output.display()))?;
    println!("wrote {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// Serves the report until it is stopped, which is how it ends.
fn watch(args: &ReportArgs) -> Result<ExitCode> {
    if let Some(absent) = args.runs.iter().find(|run| !run.is_dir()) {
        bail!(
            "{}: no such folder; give the one that `run.output` names",
            absent.display()
        );
    }
    let served = Watch::bind(args.port)?;
    let stop = flag("stopping")?;
    println!("The report is at http://{}/ until Ctrl-C", served.address);
    served.run(&stop, || report::live_report(&args.runs));
    Ok(ExitCode::SUCCESS)
}

fn names(recipe: &Recipe) -> String {
    recipe
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

pub fn plan(args: &PlanArgs) -> Result<ExitCode> {
    let mut recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    // A folder of that name is no model on the Hub.
    if !locate(&mut recipe, Depth::Config)?.is_empty() {
        eprintln!("note: of models on the Hub, only config.json was read; `smollm3 run` fetches the rest");
    }
    let facts = facts(&recipe)?;
    match (args.devices, &args.device) {
        (Some(devices), Some(device)) => show(&estimate(&recipe, &facts, devices, device)?, args.json)?,
        _ => show(
            &smollm3_estimate::plan(&recipe, &facts, &machine(&recipe, &facts))?,
            args.json,
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(found: &(impl Display + Serialize), json: bool) -> Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(found)?),
        false => print!("{found}"),
    }
    Ok(())
}

/// What is at hand to check the plan against: the architecture, tokenizers on disk, and what an earlier run prepared.
fn facts(recipe: &Recipe) -> Result<Facts> {
    let mut facts = Facts {
        architecture: Some(recipe.architecture()?),
        ..Facts::default()
    };
    if let TokenizerSpec::File(file) = &recipe.tokenizer {
        facts.tokenizer = Some(tokenizer_facts(&Tokenizer::load(recipe.tokenizer_file(file))?));
    }
    for stage in &recipe.stages {
        if let Some(folder) = recipe.checkpoint_folder(&stage.from) {
            let file = folder.join("tokenizer.json");
            if file.is_file() {
                let found = tokenizer_facts(&Tokenizer::load(file)?);
                facts.checkpoint_tokenizers.insert(stage.name.clone(), found);
            }
        }
    }
    if smollm3_records::belongs(recipe)? {
        for stage in &recipe.stages {
            let found = prepared_data(recipe, stage)?;
            facts
                .prepared
                .extend(found.map(|data| (stage.name.clone(), data)));
        }
    }
    let remote =
        |source: &Source| matches!(&source.kind, SourceKind::Tokens(tokens) if tokens.folder.contains("://"));
    if !recipe.sources.values().any(remote)
        && let Some(data) = found_data(recipe)?
    {
        facts.tokenizer = Some(tokenizer_facts(&data.tokenizer));
        let tokens = |(name, store): (String, SourceStore)| (name, store.tokens);
        facts.stores = data.stores.into_iter().map(tokens).collect();
    }
    Ok(facts)
}

/// The cores of this machine, and the rates that were measured on it.
fn machine(recipe: &Recipe, facts: &Facts) -> Machine {
    let rate = |stage: &Stage| {
        let rate = measured(recipe, facts.architecture.as_ref()?, stage)?;
        Some((stage.name.clone(), rate))
    };
    Machine {
        cores: std::thread::available_parallelism()
            .ok()
            .map(|cores| cores.get() as u64),
        rates: recipe.stages.iter().filter_map(rate).collect(),
    }
}

fn tokenizer_facts(tokenizer: &Tokenizer) -> TokenizerFacts {
    let info = tokenizer.info();
    TokenizerFacts {
        vocab_size: u64::from(info.vocab_size),
        bos_token_id: info.begin_of_text,
        eos_token_id: Some(info.end_of_text),
        end_of_turn: info.im_end,
    }
}

pub fn generate(args: &GenerateArgs) -> Result<ExitCode> {
    let device = args.device.open()?;
    let precision = args.device.precision(args.precision)?;
    let sampling = args
        .sampling
        .over(&GenerationConfig::of_checkpoint(args.checkpoint.folder()?)?.sampling)?;
    let model = TextModel::open(args.checkpoint.folder()?, dtype(precision), &device)?;
    let how = Continuation {
        max_new_tokens: args.max_new_tokens,
        stop: args.stop.clone(),
        sampling,
    };
    let prompt = model.tokenizer.prompt(&args.prompt)?;
    let mut out = stdout().lock();
    write!(out, "{}", args.prompt)?;
    out.flush()?;
    model.continue_text(&prompt, &how, |piece| {
        write!(out, "{piece}").and_then(|()| out.flush())
    })?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

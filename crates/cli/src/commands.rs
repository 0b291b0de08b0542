//! `smollm3 run`, `status`, `report`, `plan`, `generate`.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use smollm3_estimate::{Machine, estimate};
use smollm3_files::atomic_file::write_atomically;
use smollm3_hub::Depth;
use smollm3_inference::Continuation;
use smollm3_model::hf::GenerationConfig;
use smollm3_monitor::{Prometheus, RunFiles, TensorBoard, Watch, closing_table, report};
use smollm3_pipeline::{facts, open_as, run_stages};
use smollm3_recipe::{Recipe, Stage, StageData};
use smollm3_records::{Listeners, Metrics};

use crate::args::{GenerateArgs, LogFormat, PlanArgs, ReportArgs, RunArgs, SchemaArgs, StatusArgs};
use crate::hub::locate;
use crate::interrupt::{EndsPreparing, flag};
use crate::logs::{self, Logs, RankLog};
use crate::progress::Progress;
use crate::ranks::Rank;
use crate::sample;

pub fn run(args: &RunArgs, logs: LogFormat) -> Result<ExitCode> {
    let rank = Rank::start(Duration::from_secs(args.rank_timeout))?;
    let log = match rank.all.world() {
        1 => {
            logs::init(logs);
            None
        }
        _ => Some(logs::init_rank(logs, rank.all.rank())),
    };
    let stop = flag("stopping at the next safe point; the work so far is kept")?;
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
    let mut overrides = args.recipe.overrides.clone();
    overrides.extend(
        args.device
            .backend
            .iter()
            .map(|name| format!("run.backend={name}")),
    );
    overrides.extend(args.device.device.iter().map(|name| format!("run.device={name}")));
    let recipe = Recipe::load(&args.recipe.recipe, &overrides)?;
    let position = |name: &str| -> Result<usize> {
        recipe.stage(name)?;
        let is_it = |stage: &Stage| stage.name == name;
        Ok(recipe.stages.iter().position(is_it).unwrap_or(0))
    };
    let first = args.from.as_deref().map_or(Ok(0), position)?;
    let last = args
        .until
        .as_deref()
        .map_or(Ok(recipe.stages.len() - 1), position)?;
    if first > last {
        let names: Vec<&str> = recipe.stages.iter().map(|stage| stage.name.as_str()).collect();
        bail!("--from comes after --until; the stages are {}", names.join(", "));
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

/// The listeners that record and show the stages.
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

pub fn schema(args: &SchemaArgs) -> Result<()> {
    match args.markdown {
        true => print!("{}", smollm3_recipe::reference()),
        false => println!("{}", serde_json::to_string_pretty(&smollm3_recipe::schema())?),
    }
    Ok(())
}

pub fn status(args: &StatusArgs) -> Result<()> {
    print!("{}", smollm3_monitor::status::status(&RunFiles::read(&args.run)?));
    Ok(())
}

pub fn report(args: &ReportArgs) -> Result<()> {
    if args.watch {
        return watch(args);
    }
    let runs = args.runs.iter().map(|run| RunFiles::read(run));
    let page = report::report(&runs.collect::<Result<Vec<_>, _>>()?);
    // Not atomically: it may be a pipe.
    std::fs::write(&args.output, page)
        .with_context(|| format!("{}: cannot write the report", args.output.display()))?;
    println!("wrote {}", args.output.display());
    Ok(())
}

/// Serves the report until it is stopped.
fn watch(args: &ReportArgs) -> Result<()> {
    if let Some(absent) = args.runs.iter().find(|run| !run.is_dir()) {
        bail!(
            "{}: no such folder; write the one in `run.output`",
            absent.display()
        );
    }
    let served = Watch::bind(args.port)?;
    let stop = flag("stopping")?;
    println!("The report is at http://{}/ until Ctrl-C", served.address);
    served.run(&stop, || report::live_report(&args.runs));
    Ok(())
}

pub fn plan(args: &PlanArgs) -> Result<()> {
    let mut recipe = args.recipe.load()?;
    if !locate(&mut recipe, Depth::Config)?.is_empty() {
        eprintln!(
            "note: only config.json of models on the Hub was downloaded; `smollm3 run` downloads the rest"
        );
    }
    let facts = facts(&recipe)?;
    match (args.devices, &args.device) {
        (Some(devices), Some(device)) => show(&estimate(&recipe, &facts, devices, device)?, args.json),
        _ => {
            let machine = facts
                .architecture
                .as_ref()
                .map(|config| Machine::this(&recipe, config));
            let machine = machine.unwrap_or_default();
            show(&smollm3_estimate::plan(&recipe, &facts, &machine)?, args.json)
        }
    }
}

fn show(found: &(impl Display + Serialize), json: bool) -> Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(found)?),
        false => print!("{found}"),
    }
    Ok(())
}

pub fn generate(args: &GenerateArgs) -> Result<()> {
    // Refused before a checkpoint is downloaded.
    args.compute.open()?;
    let checkpoint = GenerationConfig::of_checkpoint(args.checkpoint.folder()?)?;
    let how = Continuation {
        max_new_tokens: args.max_new_tokens,
        stop: args.stop.clone(),
        sampling: args.sampling.over(&checkpoint.sampling)?,
    };
    let model = args.compute.text_model(&args.checkpoint)?;
    let prompt = model.tokenizer.prompt(&args.prompt)?;
    let mut out = stdout().lock();
    write!(out, "{}", args.prompt)?;
    out.flush()?;
    model.continue_text(&prompt, &how, |piece| {
        write!(out, "{piece}").and_then(|()| out.flush())
    })?;
    writeln!(out)?;
    Ok(())
}

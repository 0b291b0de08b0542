//! One function a command.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use smollm3_corpus::Tokenizer;
use smollm3_engine::{EngineError, Listeners, Metrics, Run};
use smollm3_model::hf::Checkpoint;
use smollm3_recipe::{Facts, Recipe};

use crate::args::{DeviceArgs, GenerateArgs, PlanArgs, RecipeArgs, RunArgs};
use crate::progress::Progress;
use crate::{sample, summary};

/// Exit code of a run that was stopped and can go on (the shell's code for Ctrl-C).
const STOPPED: u8 = 130;

fn load(args: &RecipeArgs, device: &DeviceArgs) -> Result<Recipe> {
    let mut overrides = args.overrides.clone();
    overrides.extend(device.backend.iter().map(|name| format!("run.backend={name}")));
    overrides.extend(device.device.iter().map(|name| format!("run.device={name}")));
    Ok(Recipe::load(&args.recipe, &overrides)?)
}

pub fn run(args: &RunArgs) -> Result<ExitCode> {
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

    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(STOPPED));
        }
        eprintln!("\nstopping after this step, with a checkpoint; once more to stop at once");
    })?;

    let mut listeners = Listeners::default()
        .with(Metrics::default())
        .with(Progress::new());
    let run = Run::open(recipe, &mut listeners)?;
    for stage in &run.recipe.stages[first..=last] {
        match run.stage(stage, &stop, &mut listeners) {
            Ok(()) => {}
            Err(EngineError::Interrupted { stage, step }) => {
                eprintln!("stopped after step {step} of {stage}; the same command goes on from there");
                return Ok(ExitCode::from(STOPPED));
            }
            Err(error) => return Err(error.into()),
        }
    }
    drop(listeners);
    print!("{}", summary::closing_table(&run)?);
    print!("{}", sample::closing_sample(&run)?);
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
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let plan = recipe.plan(&facts(&recipe)?)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&plan)?),
        false => print!("{plan}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is at hand to check the plan against: the architecture, and the token stores of an earlier run.
fn facts(recipe: &Recipe) -> Result<Facts> {
    Ok(Facts {
        architecture: Some(recipe.architecture()?),
        ..Facts::default()
    })
}

pub fn generate(args: &GenerateArgs) -> Result<ExitCode> {
    let backend = args
        .device
        .backend
        .as_deref()
        .unwrap_or(sample::default_backend());
    let device = smollm3_kernels::device(backend, args.device.device.as_deref())?;
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let tokenizer = Tokenizer::load(args.checkpoint.join("tokenizer.json"))
        .context("a checkpoint needs its tokenizer.json to read a prompt")?;
    let model = checkpoint.model(&device)?;
    let mut out = stdout().lock();
    write!(out, "{}", args.prompt)?;
    out.flush()?;
    let text = sample::continue_text(
        &model,
        &checkpoint.config,
        &tokenizer,
        &args.prompt,
        args.max_new_tokens,
        |piece| write!(out, "{piece}").and_then(|()| out.flush()),
    );
    text?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

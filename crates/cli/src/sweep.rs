//! `smollm3 sweep`: this program runs itself, once for each variation and seed.

use std::process::ExitCode;

use anyhow::{Context, Result};
use smollm3_sweep::{Outcome, Request, Results, Slot, Sweep, run};

use crate::args::SweepArgs;
use crate::interrupt::{STOPPED, flag};

/// Plans, runs what is not finished, and writes what is.
pub fn sweep(args: &SweepArgs) -> Result<ExitCode> {
    let sweep = Sweep::plan(&request(args))?;
    if args.dry_run {
        print!("{}", sweep.overview()?);
        return Ok(ExitCode::SUCCESS);
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let stop = flag("stopping the runs at their next safe point; what is done is kept")?;
    let outcome = run(&sweep, &program, &slots(args), &stop, &mut |progress| {
        eprintln!("{progress}");
    })?;
    let results = Results::read(&sweep)?;
    let page = results.write(&sweep)?;
    println!("{}", results.markdown());
    println!("Report: {}", page.display());
    Ok(ended(&sweep, &outcome))
}

fn request(args: &SweepArgs) -> Request {
    let mut settings = args.overrides.clone();
    settings.extend(args.backend.iter().map(|name| format!("run.backend={name}")));
    Request {
        path: args.sweep.clone(),
        settings,
        seeds: args.seeds.clone(),
        grid: args.grid.clone(),
        only: args.only.clone(),
        output: args.output.clone(),
    }
}

fn slots(args: &SweepArgs) -> Vec<Slot> {
    if args.devices.is_empty() {
        return vec![Slot::default(); args.jobs.get()];
    }
    let slot = |device: &String| Slot {
        device: Some(device.clone()),
    };
    args.devices.iter().map(slot).collect()
}

/// Says what is left, and how to go on.
fn ended(sweep: &Sweep, outcome: &Outcome) -> ExitCode {
    for (run, reason) in &outcome.failed {
        let log = sweep.output.join("logs").join(format!("{run}.log"));
        eprintln!("{run} failed: {reason} (log: {})", log.display());
    }
    if !outcome.stopped.is_empty() {
        eprintln!(
            "{} runs are not finished ({}); the same command goes on with them",
            outcome.stopped.len(),
            outcome.stopped.join(", ")
        );
    }
    match (outcome.failed.is_empty(), outcome.stopped.is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(STOPPED),
        (false, _) => ExitCode::FAILURE,
    }
}

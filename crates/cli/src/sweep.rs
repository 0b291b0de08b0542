//! `smollm3 sweep`: this program runs itself for each variation and seed.

use anyhow::{Context, Result, bail};
use smollm3_sweep::{Outcome, Request, Results, Slot, Sweep, run};

use crate::args::SweepArgs;
use crate::interrupt::{Stopped, flag};

/// `smollm3 sweep`.
pub fn sweep(args: &SweepArgs) -> Result<()> {
    let sweep = Sweep::plan(&request(args))?;
    if args.dry_run {
        print!("{}", sweep.overview()?);
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let stop = flag("stopping the runs at their next safe point; the work so far is kept")?;
    let outcome = run(&sweep, &program, &slots(args), &stop, &mut |progress| {
        eprintln!("{progress}");
    })?;
    let results = Results::read(&sweep)?;
    let page = results.write(&sweep)?;
    println!("{}", results.markdown());
    println!("Report: {}", page.display());
    check(&sweep, &outcome)
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

/// Checks that all runs have finished.
fn check(sweep: &Sweep, outcome: &Outcome) -> Result<()> {
    for (run, reason) in &outcome.failed {
        let log = sweep.output.join("logs").join(format!("{run}.log"));
        eprintln!("{run} failed: {reason} (log: {})", log.display());
    }
    let unfinished = format!(
        "{} runs are not finished ({}); the same command resumes them",
        outcome.stopped.len(),
        outcome.stopped.join(", ")
    );
    match (outcome.failed.len(), outcome.stopped.is_empty()) {
        (0, true) => Ok(()),
        (0, false) => Err(Stopped(unfinished).into()),
        (failed, true) => bail!("failed runs: {failed}"),
        (failed, false) => bail!("failed runs: {failed}; {unfinished}"),
    }
}

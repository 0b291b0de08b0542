//! The time of a run in words, and on what it is based: measured rates, an assumed fraction of the devices' peak, or both.

use std::fmt;

use smollm3_recipe::Recompute;

use crate::figures::clipped;
use crate::plan::{RunCost, StageCost};

/// "at most" before the steps, tokens and time of stages that may end early.
pub(crate) fn at_most(may_end_early: bool) -> &'static str {
    if may_end_early { "at most " } else { "" }
}

/// A time in a readable unit.
pub(crate) fn time(days: f64) -> String {
    match days * 1_440.0 {
        minutes if minutes < 90.0 => format!("{minutes:.0} minutes"),
        minutes if minutes < 2_880.0 => format!("{:.1} hours", minutes / 60.0),
        _ => format!("{days:.1} days"),
    }
}

/// The time of all stages, or how it becomes known.
pub(crate) fn write_time(f: &mut fmt::Formatter<'_>, run: &RunCost) -> fmt::Result {
    let unplanned = unplanned(run);
    if run.stages.is_empty() {
        return match unplanned.as_str() {
            "" => writeln!(f, "no time: no stage trains"),
            names => writeln!(f, "no time yet: the steps of {names} are not known"),
        };
    }
    let without = match unplanned.as_str() {
        "" => String::new(),
        names => format!(", without {names}"),
    };
    let assumed = run.cluster.peak_tflops.map(|peak| {
        let mfu = (run.cluster.mfu * 1000.0).round() / 10.0;
        format!("at {mfu} % of {peak} TFLOP/s a device")
    });
    let most = at_most(run.stages.iter().any(|stage| stage.may_end_early));
    let missing = run.stages.iter().filter(|stage| stage.measured.is_none());
    let missing: Vec<&StageCost> = missing.collect();
    let (bench, names) = (bench(&missing), names(&missing));
    let none_is_measured = missing.len() == run.stages.len();
    match (run.days, assumed) {
        (Some(days), _) if missing.is_empty() => {
            let time = time(days);
            writeln!(
                f,
                "{most}{time} at the rate that `smollm3 bench step` measured here{without}"
            )
        }
        (Some(days), Some(assumed)) if none_is_measured => {
            writeln!(f, "{most}{days:.1} days {assumed}{without}")
        }
        (Some(days), Some(assumed)) => {
            writeln!(f, "{most}{}{without}", time(days))?;
            writeln!(f, "no rate was measured for {names}, taken {assumed};")?;
            writeln!(f, "run {bench}")
        }
        _ if none_is_measured => writeln!(f, "no time: run {bench}, or write plan.peak_tflops"),
        _ => {
            writeln!(f, "no time: no rate was measured for {names};")?;
            writeln!(f, "run {bench}, or write plan.peak_tflops")
        }
    }
}

/// The stages that the totals leave out.
fn unplanned(run: &RunCost) -> String {
    let unplanned = run.conversations.iter().filter(|stage| stage.unplanned.is_some());
    let names: Vec<&str> = unplanned.map(|stage| stage.plan.name.as_str()).collect();
    names.join(", ")
}

fn names(stages: &[&StageCost]) -> String {
    let names: Vec<&str> = stages.iter().map(|stage| stage.plan.name.as_str()).collect();
    clipped(&names.join(", "), 28)
}

/// The command that measures the rate of `stages`. Their other settings are the same in all stages of a recipe.
fn bench(stages: &[&StageCost]) -> &'static str {
    let recomputed = |stage: &&StageCost| stage.recompute == Recompute::Layers;
    match stages.iter().filter(|stage| recomputed(stage)).count() {
        0 => "`smollm3 bench step` without --recompute",
        count if count == stages.len() => "`smollm3 bench step --recompute`",
        _ => "`smollm3 bench step` with and without --recompute",
    }
}

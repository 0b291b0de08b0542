//! A run, or several side by side, as one HTML page that needs no network: first its stages, what each changed and what that
//! says; then the curves, stage by stage.

mod picture;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use smollm3_page::{Chart, Line, Mark, card, escape, live_page, page};
use smollm3_records::{SourceName, StepRecord};

use crate::{RunFiles, StageFiles};

/// The page.
pub fn report(runs: &[RunFiles]) -> String {
    page(&title(runs), &body(runs))
}

/// The page of what is in these folders now, which reloads itself; or what is wrong with them.
pub fn live_report(folders: &[PathBuf]) -> String {
    let runs: Result<Vec<RunFiles>, _> = folders.iter().map(|folder| RunFiles::read(folder)).collect();
    match runs {
        Ok(runs) => live_page(&title(&runs), &body(&runs)),
        Err(error) => {
            let problem = format!("<p>{}</p>", escape(&error.to_string()));
            live_page("nothing to show yet", &problem)
        }
    }
}

fn title(runs: &[RunFiles]) -> String {
    runs.iter().map(RunFiles::name).collect::<Vec<_>>().join(", ")
}

fn body(runs: &[RunFiles]) -> String {
    let names: Vec<String> = runs.iter().map(RunFiles::name).collect();
    let mut body = String::new();
    for (run, name) in runs.iter().zip(&names) {
        if runs.len() > 1 {
            let _ = writeln!(body, "<h2>{}</h2>", escape(name));
        }
        picture::picture(&mut body, run);
    }
    let mut stages: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|run| &run.stages) {
        if !stages.contains(&stage.info.name.as_str()) {
            stages.push(&stage.info.name);
        }
    }
    for name in stages {
        let found: Vec<(&str, &StageFiles)> = names
            .iter()
            .zip(runs)
            .filter_map(|(run, files)| Some((run.as_str(), files.stage(name)?)))
            .collect();
        section(&mut body, name, &found);
    }
    body
}

fn section(page: &mut String, name: &str, runs: &[(&str, &StageFiles)]) {
    let name = escape(name);
    let _ = writeln!(page, "<h2>{name}</h2>");
    let of = |run: &str| of(run, runs.len());
    page.push_str("<div class=\"overview\">\n");
    for (run, stage) in runs {
        card(page, &format!("Incidents{}", of(run)), &tables::incidents(stage));
    }
    page.push_str("</div>\n");
    // A merge has no steps.
    if runs.iter().any(|(_, stage)| !stage.steps.is_empty()) {
        page.push_str("<div class=\"grid\">\n");
        curves(page, runs);
        page.push_str("</div>\n");
    }
    let _ = writeln!(
        page,
        "<details id=\"numbers-{name}\"><summary>All numbers of {name}</summary>"
    );
    page.push_str("<div class=\"overview\">\n");
    card(page, "Steps", &tables::overview(runs));
    page.push_str("</div>\n<div class=\"grid\">\n");
    for (run, stage) in runs {
        tables::tables(page, stage, &of(run));
    }
    page.push_str("</div></details>\n");
}

/// What a title adds where there are several runs.
fn of(run: &str, runs: usize) -> String {
    match runs {
        1 => String::new(),
        _ => format!(" · {run}"),
    }
}

/// Incidents and the ends of phases.
fn marks(stage: &StageFiles) -> Vec<Mark> {
    let phases = stage.info.phases.iter().rev().skip(1).rev().map(|phase| Mark {
        at: phase.last as f64,
        name: format!("end of {}", phase.name),
        is_bad: false,
    });
    let incidents = stage.incidents.iter().map(|incident| Mark {
        at: incident.step as f64,
        name: incident.kind.to_string(),
        is_bad: true,
    });
    phases.chain(incidents).collect()
}

/// What is drawn over the steps.
fn curves(page: &mut String, runs: &[(&str, &StageFiles)]) {
    let marks = match runs {
        [(_, stage)] => marks(stage),
        _ => Vec::new(),
    };
    let mut draw = |title: &str, unit: &str, lines: Vec<Line>| {
        let chart = Chart::over_steps(unit, lines).with_marks(marks.clone());
        card(page, title, &chart.html());
    };
    let over_steps = |value: &dyn Fn(&StageFiles, &StepRecord) -> f64| -> Vec<Line> {
        let line = |(run, stage): &(&str, &StageFiles)| {
            let steps = stage.steps.iter();
            let points = steps.map(|step| (step.step as f64, value(stage, step)));
            // The curve of one run needs no name.
            Line::new(if runs.len() > 1 { *run } else { "" }, points.collect())
        };
        runs.iter().map(line).collect()
    };
    // `nats/token`, or what a loss is of.
    let unit = match runs.first().map(|(_, stage)| stage.info.loss_unit.as_str()) {
        Some(unit) if unit.contains('/') => unit.to_owned(),
        unit => format!("loss of {}", unit.unwrap_or_default()),
    };
    let unit = unit.as_str();
    draw("Loss", unit, over_steps(&|_, step| step.loss));
    for (run, stage) in runs {
        let of = of(run, runs.len());
        draw(&format!("Loss by source{of}"), unit, by_source(stage));
        let title = format!("Held-out loss by category{of}");
        draw(&title, "nats/token", held_out(stage));
    }
    let first_steps = runs.iter().filter_map(|(_, stage)| stage.steps.first());
    let observed: BTreeSet<&String> = first_steps.flat_map(|step| step.observed.keys()).collect();
    for name in observed {
        let lines = over_steps(&|_, step| step.observed.get(name).copied().unwrap_or(f64::NAN));
        draw(name, "mean of the step", lines);
    }
    let norms = over_steps(&|_, step| step.grad_norm);
    draw("Gradient norm before clipping", "norm", norms);
    draw("Learning rate", "rate", over_steps(&|_, step| step.learning_rate));
    let throughput = over_steps(&|stage, step| stage.info.tokens_per_step as f64 / step.seconds.max(1e-9));
    draw("Throughput", "tokens/s", throughput);
}

/// A line a category, where it was measured more than once.
fn held_out(stage: &StageFiles) -> Vec<Line> {
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for record in &stage.held_out {
        let line = lines.entry(&record.category).or_default();
        line.push((record.step as f64, record.nats_per_token));
    }
    lines
        .into_iter()
        .filter(|(_, points)| points.len() > 1)
        .map(|(category, points)| Line::new(category, points))
        .collect()
}

/// One line a source, or one a category where there are many.
fn by_source<'s>(stage: &'s StageFiles) -> Vec<Line> {
    const MOST: usize = 12;
    let many = stage.info.sources.len() > MOST;
    let label = |source: &'s SourceName| {
        if many {
            source.category.as_str()
        } else {
            source.name.as_str()
        }
    };
    let sources = stage.info.sources.iter();
    let labels: BTreeMap<&str, &str> = sources
        .map(|source| (source.name.as_str(), label(source)))
        .collect();
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for step in &stage.steps {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (name, part) in step.sources.iter().filter(|(_, part)| part.targets > 0) {
            let label = labels.get(name.as_str()).copied().unwrap_or("?");
            let sum = sums.entry(label).or_default();
            sum.0 += part.loss * part.targets as f64;
            sum.1 += part.targets as f64;
        }
        for (name, (sum, targets)) in sums {
            let line = lines.entry(name).or_default();
            line.push((step.step as f64, sum / targets));
        }
    }
    lines
        .into_iter()
        .map(|(name, points)| Line::new(name, points))
        .collect()
}

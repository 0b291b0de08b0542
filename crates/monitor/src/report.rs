//! A run, or several side by side, as one HTML page that needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use smollm3_engine::{EngineError, Result, StepRecord};
use smollm3_eval::Evaluation;
use smollm3_page::{Line, card, chart, escape, page, table};
use smollm3_sft::Ledger;

use crate::status::{duration, tokens};
use crate::{RunFiles, StageFiles};

/// The page.
///
/// # Errors
/// A chart cannot be drawn.
pub fn report(runs: &[RunFiles]) -> Result<String> {
    let names: Vec<String> = runs.iter().map(RunFiles::name).collect();
    let mut body = String::new();
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
            .filter_map(|(run, files)| {
                let stage = files.stages.iter().find(|stage| stage.info.name == name)?;
                Some((run.as_str(), stage))
            })
            .collect();
        // Writing to a string does not fail; a chart may.
        section(&mut body, name, &found).map_err(|error| {
            EngineError::Refused(format!("the report of stage {name} cannot be drawn: {error}"))
        })?;
    }
    Ok(page(&names.join(", "), &body))
}

type Drawn = std::result::Result<(), String>;

fn section(page: &mut String, name: &str, runs: &[(&str, &StageFiles)]) -> Drawn {
    let _ = writeln!(page, "<h2>{}</h2>", escape(name));
    overview(page, runs);
    // A merge has no steps.
    if runs.iter().any(|(_, stage)| !stage.steps.is_empty()) {
        page.push_str("<div class=\"grid\">\n");
        curves(page, runs)?;
        page.push_str("</div>\n");
    }
    for (run, stage) in runs {
        page.push_str("<div class=\"grid\">\n");
        tables(page, run, stage, runs.len() > 1);
        page.push_str("</div>\n");
    }
    Ok(())
}

/// What is drawn over the steps.
fn curves(page: &mut String, runs: &[(&str, &StageFiles)]) -> Drawn {
    let faults = |stage: &StageFiles| {
        stage
            .incidents
            .iter()
            .map(|incident| incident.step as f64)
            .collect()
    };
    let marks: Vec<f64> = match runs {
        [(_, stage)] => faults(stage),
        _ => Vec::new(),
    };
    let mut over_steps = |title: &str, label: &str, value: &dyn Fn(&StageFiles, &StepRecord) -> f64| {
        let lines: Vec<Line> = runs
            .iter()
            .map(|(run, stage)| {
                let steps = stage.steps.iter();
                Line::new(
                    *run,
                    steps.map(|step| (step.step as f64, value(stage, step))).collect(),
                )
            })
            .collect();
        card(page, title, &chart(label, &lines, &marks)?);
        Drawn::Ok(())
    };
    let unit = runs
        .first()
        .map_or("", |(_, stage)| stage.info.loss_unit.as_str());
    over_steps("Loss", unit, &|_, step| step.loss)?;
    over_steps("Gradient norm before clipping", "norm", &|_, step| step.grad_norm)?;
    over_steps("Learning rate", "rate", &|_, step| step.learning_rate)?;
    over_steps("Throughput", "tokens/s", &|stage, step| {
        stage.info.tokens_per_step as f64 / step.seconds.max(1e-9)
    })?;
    let first_steps = runs.iter().filter_map(|(_, stage)| stage.steps.first());
    let observed: BTreeSet<&String> = first_steps.flat_map(|step| step.observed.keys()).collect();
    for name in observed {
        over_steps(name, "mean of the step", &|_, step| {
            step.observed.get(name).copied().unwrap_or(f64::NAN)
        })?;
    }
    for (run, stage) in runs {
        let of = match runs.len() {
            1 => String::new(),
            _ => format!(" · {run}"),
        };
        card(
            page,
            &format!("Loss by source{of}"),
            &chart(unit, &by_source(stage), &[])?,
        );
    }
    Ok(())
}

/// What is told in numbers of one run's stage.
fn tables(page: &mut String, run: &str, stage: &StageFiles, several: bool) {
    let of = if several {
        format!(" · {run}")
    } else {
        String::new()
    };
    if !stage.info.phases.is_empty() {
        card(
            page,
            &format!("Shares of sequences, asked and got{of}"),
            &shares(stage),
        );
    }
    if !stage.held_out.is_empty() {
        card(page, &format!("Held-out loss{of}"), &held_out(stage));
    }
    if !stage.measured.is_empty() {
        card(page, &format!("Held-out pairs{of}"), &measured(stage));
    }
    if let Some(ledger) = &stage.ledger {
        card(
            page,
            &format!("Tokens of the conversations{of}"),
            &ledger_table(ledger),
        );
    }
    if let Some(evaluation) = &stage.evaluation {
        card(
            page,
            &format!("Evaluation of the last checkpoint{of}"),
            &evaluation_table(evaluation),
        );
    }
    card(page, &format!("Checkpoints{of}"), &checkpoints(stage));
    card(page, &format!("Incidents{of}"), &incidents(stage));
}

/// Where the tokens went; the parts add up to the first row.
fn ledger_table(ledger: &Ledger) -> String {
    let parts = [
        ("in all", ledger.input),
        ("trained on", ledger.trained),
        ("masked", ledger.masked),
        ("truncated", ledger.truncated),
        ("dropped", ledger.dropped),
    ];
    let rows = parts.map(|(name, count)| {
        let part = 100.0 * count as f64 / ledger.input.max(1) as f64;
        vec![name.to_owned(), count.to_string(), format!("{part:.1} %")]
    });
    table(&["tokens", "count", "part"], rows)
}

fn evaluation_table(evaluation: &Evaluation) -> String {
    let percent = |score: f64, error: f64| format!("{:.1} ± {:.1} %", 100.0 * score, 100.0 * error);
    let losses = evaluation.loss_by_position.iter().map(|part| {
        let positions = format!("loss at positions {} to {}", part.from, part.to - 1);
        vec![
            positions,
            format!("{:.3} ± {:.3}", part.loss, part.standard_error),
        ]
    });
    let probes = evaluation.long_context.iter().map(|score| {
        let name = format!("{} at {} tokens", score.task.name(), score.length);
        vec![name, percent(score.score, score.standard_error)]
    });
    let sums = evaluation.exact_match.iter().map(|score| {
        vec![
            format!("sums, {}", score.mode()),
            percent(score.score, score.standard_error),
        ]
    });
    let text = evaluation.held_out.iter().map(|(category, loss)| {
        let found = format!(
            "{:.3} nats/token, {:.3} bits/byte",
            loss.nats_per_token, loss.bits_per_byte
        );
        vec![format!("held-out {category}"), found]
    });
    let pairs = evaluation.preference.iter().map(|score| {
        vec![
            format!("right sums preferred, {}", score.mode()),
            percent(score.score, score.standard_error),
        ]
    });
    table(
        &["measured", "result (± standard error)"],
        text.chain(losses).chain(probes).chain(sums).chain(pairs),
    )
}

fn overview(page: &mut String, runs: &[(&str, &StageFiles)]) {
    let rows = runs.iter().map(|(run, stage)| {
        let (info, done) = (&stage.info, stage.done());
        let rate = stage.tokens_per_second();
        let mfu = rate
            .zip(info.peak_flops)
            .map(|(rate, peak)| format!("{:.1} %", 100.0 * rate * info.flops_per_token / peak));
        let left = stage
            .seconds_per_step()
            .map(|seconds| duration(info.steps.saturating_sub(done) as f64 * seconds));
        let seconds: f64 = stage.steps.iter().map(|step| step.seconds).sum();
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        vec![
            (*run).to_owned(),
            format!("{done} of {}", info.steps),
            stage
                .steps
                .last()
                .map_or("–".to_owned(), |step| format!("{:.4}", step.loss)),
            stage
                .steps
                .last()
                .map_or("–".to_owned(), |step| tokens(step.tokens)),
            or_none(rate.map(|rate| format!("{rate:.0}"))),
            or_none(mfu),
            duration(seconds),
            or_none(left),
            info.sequence_length.to_string(),
            format!("{}", info.rope_theta),
        ]
    });
    let head = [
        "run",
        "step",
        "loss",
        "tokens",
        "tokens/s",
        "MFU",
        "computed",
        "left",
        "row",
        "RoPE theta",
    ];
    let _ = writeln!(page, "<div class=\"card overview\">{}</div>", table(&head, rows));
}

/// One line a source, or one a category where there are many.
fn by_source(stage: &StageFiles) -> Vec<Line> {
    const MOST: usize = 12;
    let many = stage.info.sources.len() > MOST;
    let label: BTreeMap<&str, &str> = stage
        .info
        .sources
        .iter()
        .map(|source| {
            let name = source.name.as_str();
            (name, if many { source.category.as_str() } else { name })
        })
        .collect();
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for step in &stage.steps {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (name, part) in step.sources.iter().filter(|(_, part)| part.targets > 0) {
            let sum = sums
                .entry(label.get(name.as_str()).copied().unwrap_or("?"))
                .or_default();
            sum.0 += part.loss * part.targets as f64;
            sum.1 += part.targets as f64;
        }
        for (name, (sum, targets)) in sums {
            lines
                .entry(name)
                .or_default()
                .push((step.step as f64, sum / targets));
        }
    }
    lines
        .into_iter()
        .map(|(name, points)| Line::new(name, points))
        .collect()
}

fn shares(stage: &StageFiles) -> String {
    let mut rows = Vec::new();
    for phase in &stage.info.phases {
        let mut got: BTreeMap<&str, u64> = BTreeMap::new();
        let steps = stage
            .steps
            .iter()
            .filter(|step| (phase.first..=phase.last).contains(&step.step));
        for (name, part) in steps.flat_map(|step| &step.sources) {
            *got.entry(name).or_default() += part.rows;
        }
        let total: u64 = got.values().sum();
        for (name, asked) in &phase.shares {
            let rows_got = got.get(name.as_str()).copied().unwrap_or(0);
            let part = match total {
                0 => "–".to_owned(),
                _ => format!("{:.2} %", 100.0 * rows_got as f64 / total as f64),
            };
            rows.push(vec![
                phase.name.clone(),
                name.clone(),
                format!("{:.2} %", 100.0 * asked),
                part,
                rows_got.to_string(),
            ]);
        }
    }
    table(&["phase", "source", "asked", "got", "sequences"], rows)
}

fn held_out(stage: &StageFiles) -> String {
    let row = |record: &smollm3_engine::HeldOutRecord| {
        vec![
            record.phase.clone(),
            record.category.clone(),
            format!("{:.4}", record.nats_per_token),
            format!("{:.4}", record.bits_per_byte),
        ]
    };
    table(
        &["phase", "category", "nats/token", "bits/byte"],
        stage.held_out.iter().map(row),
    )
}

fn measured(stage: &StageFiles) -> String {
    let row = |record: &smollm3_engine::MeasureRecord| {
        vec![
            record.phase.clone(),
            record.name.clone(),
            format!("{:.4} ± {:.4}", record.value, record.standard_error),
            record.items.to_string(),
        ]
    };
    table(
        &["phase", "measured", "mean (± standard error)", "pairs"],
        stage.measured.iter().map(row),
    )
}

fn checkpoints(stage: &StageFiles) -> String {
    let row =
        |(step, folder): &(u64, std::path::PathBuf)| vec![step.to_string(), folder.display().to_string()];
    match stage.checkpoints.is_empty() {
        true => "<p class=\"soft\">none yet</p>".to_owned(),
        false => table(&["step", "folder"], stage.checkpoints.iter().map(row)),
    }
}

fn incidents(stage: &StageFiles) -> String {
    if stage.incidents.is_empty() {
        return "<p class=\"soft\">none</p>".to_owned();
    }
    let mut text = String::from("<table><tr><th>step</th><th style=\"text-align:left\">what</th></tr>");
    for incident in &stage.incidents {
        let what = escape(&incident.kind.to_string());
        let _ = write!(
            text,
            "<tr><td>{}</td><td class=\"text bad\">{what}</td></tr>",
            incident.step
        );
    }
    text + "</table>"
}

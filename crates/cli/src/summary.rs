//! What a run shows in words when it ends: held-out loss phase by phase, what each stage's checkpoint can do, and what
//! that says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use smollm3_engine::{HeldOutRecord, Record, Run, read_metrics};
use smollm3_eval::{Evaluation, Mode, read_evaluation};

use crate::findings::findings;

/// All of it.
pub fn closing_tables(run: &Run) -> Result<String> {
    let mut text = String::new();
    let (mut phases, mut evaluations) = (Vec::new(), Vec::new());
    for stage in &run.recipe.stages {
        let folder = run.stage_folder(&stage.name);
        let records: Vec<HeldOutRecord> = read_metrics(&folder)?
            .into_iter()
            .filter_map(|record| match record {
                Record::HeldOut(record) => Some(record),
                Record::Step(_) | Record::Measured(_) => None,
            })
            .collect();
        // What was measured once only is in the table of stages.
        if records.first().map(|record| &record.phase) != records.last().map(|record| &record.phase) {
            text.push_str(&format!(
                "\nHeld-out loss after each phase of {}, nats/token (bits/byte)\n\n",
                stage.name
            ));
            text.push_str(&held_out(&records));
        }
        phases.extend(records);
        if let Some(found) = read_evaluation(&folder)? {
            evaluations.push((stage.name.as_str(), found));
        }
    }
    if !evaluations.is_empty() {
        text.push_str("\nWhat each stage's last checkpoint can do (± standard error)\n\n");
        text.push_str(&stages(&evaluations));
        for line in findings(&run.recipe.stages, &phases, &evaluations) {
            text.push_str(&format!("\n- {line}"));
        }
        text.push('\n');
    }
    Ok(text)
}

/// A row a category, a column a phase.
fn held_out(records: &[HeldOutRecord]) -> String {
    let mut phases: Vec<&str> = Vec::new();
    let mut rows: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for record in records {
        if !phases.contains(&record.phase.as_str()) {
            phases.push(&record.phase);
        }
        let cell = format!("{:.3} ({:.3})", record.nats_per_token, record.bits_per_byte);
        rows.entry(&record.category)
            .or_default()
            .insert(&record.phase, cell);
    }
    let rows = rows.into_iter().map(|(category, cells)| {
        let cells = phases.iter().map(|phase| cells.get(phase).cloned());
        (category.to_owned(), cells.collect())
    });
    let columns: Vec<String> = phases.iter().map(|phase| (*phase).to_owned()).collect();
    table("", &columns, rows.collect())
}

/// A number that an evaluation found, as a cell.
type Measure = Box<dyn Fn(&Evaluation) -> Option<String>>;

/// A row a stage, a column a measure; below the table what the columns are.
fn stages(evaluations: &[(&str, Evaluation)]) -> String {
    let all = || evaluations.iter().map(|(_, found)| found);
    let mut columns: Vec<(String, Measure)> = Vec::new();
    let mut legend: Vec<String> = Vec::new();

    let categories: BTreeSet<String> = all().flat_map(|found| found.held_out.keys().cloned()).collect();
    if !categories.is_empty() {
        let names: Vec<&str> = categories.iter().map(String::as_str).collect();
        legend.push(format!("{}: loss on held-out text, nats/token", names.join(", ")));
    }
    for category in categories {
        let name = category.clone();
        let cell =
            move |found: &Evaluation| Some(format!("{:.3}", found.held_out.get(&category)?.nats_per_token));
        columns.push((name, Box::new(cell)));
    }
    let last = all()
        .flat_map(|found| &found.loss_by_position)
        .max_by_key(|part| part.to);
    if let Some((from, to, documents)) = last.map(|part| (part.from, part.to, part.documents)) {
        legend.push(format!(
            "late: loss at positions {from} to {} of {documents} held-out documents, nats/token",
            to - 1
        ));
        let cell = move |found: &Evaluation| {
            let part = found.loss_by_position.iter().find(|part| part.to == to)?;
            Some(format!("{:.2} ± {:.2}", part.loss, part.standard_error))
        };
        columns.push(("late".to_owned(), Box::new(cell)));
    }
    let longest = all()
        .flat_map(|found| &found.long_context)
        .map(|score| score.length)
        .max();
    if let Some(length) = longest {
        legend.push(format!(
            "found: % of what is asked for in texts of {length} tokens"
        ));
        let cell = move |found: &Evaluation| {
            let scores: Vec<_> = found
                .long_context
                .iter()
                .filter(|score| score.length == length)
                .collect();
            let count = scores.len() as f64;
            let mean = scores.iter().map(|score| score.score).sum::<f64>() / count;
            let squares: f64 = scores.iter().map(|score| score.standard_error.powi(2)).sum();
            (!scores.is_empty()).then(|| percent(mean, squares.sqrt() / count))
        };
        columns.push(("found".to_owned(), Box::new(cell)));
    }
    if let Some(score) = all().find_map(|found| found.exact_match.first()) {
        legend.push(format!(
            "/think, /no_think: % of {} sums answered right",
            score.items
        ));
        for think in [true, false] {
            let cell = move |found: &Evaluation| {
                let score = found.exact_match.iter().find(|score| score.think == think)?;
                Some(percent(score.score, score.standard_error))
            };
            columns.push((Mode::of(think).to_string(), Box::new(cell)));
        }
    }
    if let Some(score) = all().find_map(|found| found.preference.first()) {
        legend.push(format!(
            "prefers: % of {} pairs in each mode whose right sum is likelier than the wrong one",
            score.items
        ));
        for think in [true, false] {
            let cell = move |found: &Evaluation| {
                let score = found.preference.iter().find(|score| score.think == think)?;
                Some(percent(score.score, score.standard_error))
            };
            columns.push((format!("prefers {}", Mode::of(think)), Box::new(cell)));
        }
    }
    let rows = evaluations.iter().map(|(stage, found)| {
        let cells = columns.iter().map(|(_, cell)| cell(found));
        ((*stage).to_owned(), cells.collect())
    });
    let rows = rows.collect();
    let names: Vec<String> = columns.into_iter().map(|(name, _)| name).collect();
    let legend: String = legend.iter().map(|line| format!("  {line}\n")).collect();
    format!("{}\n{legend}", table("stage", &names, rows))
}

fn percent(score: f64, error: f64) -> String {
    format!("{:.0} ± {:.0}", 100.0 * score, 100.0 * error)
}

/// Columns as wide as what is in them; `-` where there is nothing.
fn table(corner: &str, columns: &[String], rows: Vec<(String, Vec<Option<String>>)>) -> String {
    let length = |text: &str| text.chars().count();
    let first = rows
        .iter()
        .map(|(name, _)| length(name))
        .chain([length(corner)])
        .max()
        .unwrap_or(0);
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = rows.iter().filter_map(|(_, cells)| cells.get(index)?.as_deref());
            cells.map(length).chain([length(column)]).max().unwrap_or(0) + 2
        })
        .collect();
    let line = |name: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:>width$}"))
            .collect();
        format!("  {name:<first$}{cells}\n")
    };
    let mut text = line(corner, &mut columns.iter().map(String::as_str));
    for (name, cells) in &rows {
        text.push_str(&line(
            name,
            &mut cells.iter().map(|cell| cell.as_deref().unwrap_or("-")),
        ));
    }
    text
}

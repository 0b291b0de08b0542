//! The tables at the end of a run: held-out loss after each phase, and what each stage's evaluation found.

use std::collections::BTreeMap;

use anyhow::Result;
use smollm3_engine::{HeldOutRecord, Record, Run, read_metrics};
use smollm3_eval::{Evaluation, read_evaluation};

/// All tables of a run.
pub fn closing_tables(run: &Run) -> Result<String> {
    let mut text = String::new();
    let mut evaluations = Vec::new();
    for stage in &run.recipe.stages {
        let folder = run.stage_folder(&stage.name);
        let records: Vec<HeldOutRecord> = read_metrics(&folder)?
            .into_iter()
            .filter_map(|record| match record {
                Record::HeldOut(record) => Some(record),
                Record::Step(_) | Record::Measured(_) => None,
            })
            .collect();
        if !records.is_empty() {
            text.push_str(&format!(
                "\nHeld-out loss after each phase of {}, nats/token (bits/byte)\n\n",
                stage.name
            ));
            text.push_str(&held_out(&records));
        }
        if let Some(found) = read_evaluation(&folder)? {
            evaluations.push((stage.name.as_str(), found));
        }
    }
    text.push_str(&long_context(&evaluations));
    text.push_str(&exact_match(&evaluations));
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
    table("", &phases, rows)
}

/// What each stage's checkpoint does at each length: the first of them was trained on short rows only.
fn long_context(evaluations: &[(&str, Evaluation)]) -> String {
    let stages: Vec<&str> = evaluations.iter().map(|(stage, _)| *stage).collect();
    let mut losses: BTreeMap<(usize, usize), BTreeMap<&str, String>> = BTreeMap::new();
    let mut scores: BTreeMap<(usize, &str), BTreeMap<&str, String>> = BTreeMap::new();
    let mut documents = 0;
    for (stage, found) in evaluations {
        for part in &found.loss_by_position {
            documents = part.documents;
            let cell = format!("{:.3} ± {:.3}", part.loss, part.standard_error);
            losses
                .entry((part.from, part.to))
                .or_default()
                .insert(stage, cell);
        }
        for part in &found.long_context {
            let cell = format!("{:.0} ± {:.0}", 100.0 * part.score, 100.0 * part.standard_error);
            scores
                .entry((part.length, part.task.name()))
                .or_default()
                .insert(stage, cell);
        }
    }
    let of_stages =
        |cells: &BTreeMap<&str, String>| stages.iter().map(|stage| cells.get(stage).cloned()).collect();
    let mut text = String::new();
    if !losses.is_empty() {
        text.push_str(&format!(
            "\nLoss by position on {documents} held-out documents, nats/token (± standard error), after each stage\n\n"
        ));
        let rows = losses
            .iter()
            .map(|((from, to), cells)| (format!("{from} to {}", to - 1), of_stages(cells)));
        text.push_str(&table("position", &stages, rows));
    }
    if !scores.is_empty() {
        text.push_str(
            "\nLong-context probes, % of the answers found (± standard error), after each stage\n\n",
        );
        let rows = scores
            .iter()
            .map(|((length, task), cells)| (format!("{length} {task}"), of_stages(cells)));
        text.push_str(&table("tokens, task", &stages, rows));
    }
    text
}

/// Sums answered right in each mode, after each stage that taught conversations.
fn exact_match(evaluations: &[(&str, Evaluation)]) -> String {
    let asked = evaluations
        .iter()
        .filter(|(_, found)| !found.exact_match.is_empty());
    let asked: Vec<&(&str, Evaluation)> = asked.collect();
    let Some(items) = asked
        .first()
        .and_then(|(_, found)| found.exact_match.first())
        .map(|score| score.items)
    else {
        return String::new();
    };
    let stages: Vec<&str> = asked.iter().map(|(stage, _)| *stage).collect();
    let row = |think: bool| {
        let cell = |(_, found): &&(&str, Evaluation)| {
            let score = found.exact_match.iter().find(|score| score.think == think)?;
            Some(format!(
                "{:.0} ± {:.0}",
                100.0 * score.score,
                100.0 * score.standard_error
            ))
        };
        let name = if think { "/think" } else { "/no_think" };
        (name.to_owned(), asked.iter().map(cell).collect())
    };
    let rows = [row(true), row(false)].into_iter();
    format!(
        "\nSums answered right, % of {items} (± standard error), after each stage\n\n{}",
        table("mode", &stages, rows)
    )
}

/// Columns as wide as their names want; `-` where there is nothing.
fn table(
    corner: &str,
    columns: &[&str],
    rows: impl Iterator<Item = (String, Vec<Option<String>>)>,
) -> String {
    const LEAST: usize = 16;
    let width = |column: &str| column.chars().count().max(LEAST) + 2;
    let line = |name: &str, cells: Vec<Option<String>>| {
        let cells = columns.iter().zip(cells);
        let cells: String = cells
            .map(|(column, cell)| {
                format!(
                    "{:>width$}",
                    cell.as_deref().unwrap_or("-"),
                    width = width(column)
                )
            })
            .collect();
        format!("  {name:<22}{cells}\n")
    };
    let head = columns.iter().map(|column| Some((*column).to_owned())).collect();
    let mut text = line(corner, head);
    rows.for_each(|(name, cells)| text.push_str(&line(&name, cells)));
    text
}

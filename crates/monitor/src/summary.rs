//! The text at the end of a run: what each stage's checkpoint can do, and what that says. One screen.

use crate::RunFiles;
use crate::findings::{NO_BREAK, findings, unbroken};
use crate::measures::{Measure, legend, measures};

/// Columns of a screen.
const WIDTH: usize = 100;
/// Stages that are shown; the report has all.
const STAGES: usize = 11;
/// Characters of a stage's name that are shown.
const NAME: usize = 24;

/// A table of the stages and the sentences of [`findings`]; nothing if nothing was measured.
pub fn closing_table(run: &RunFiles) -> String {
    let all = measures(&run.stages);
    let measured = |measure: &Measure| run.stages.iter().any(|stage| measure.of(stage).is_some());
    if !all.iter().any(measured) {
        return String::new();
    }
    let first = run.stages.len().saturating_sub(STAGES);
    let mut shown = all.clone();
    let mut table = lines(run, &shown, first);
    // The losses of single categories go first.
    while table.iter().any(|line| line.chars().count() > WIDTH) && shown.len() > 1 {
        let losses = |measure: &Measure| matches!(measure, Measure::HeldOut(_));
        shown.remove(shown.iter().rposition(losses).unwrap_or(shown.len() - 1));
        table = lines(run, &shown, first);
    }
    let mut text = String::from("\nWhat the checkpoint of each stage can do (± standard error)\n");
    let mut push = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    table.iter().for_each(|line| push(line));
    legend(&shown, &run.stages)
        .iter()
        .flat_map(|line| wrapped(line, "  ", "    "))
        .for_each(|line| push(&line));
    if shown.len() < all.len() || first > 0 {
        push("  The report has the other figures and stages.");
    }
    findings(run)
        .iter()
        .flat_map(|line| wrapped(line, "- ", "  "))
        .for_each(|line| push(&line));
    text
}

/// The table, with columns as wide as their cells; `-` where nothing was measured.
fn lines(run: &RunFiles, measures: &[Measure], first: usize) -> Vec<String> {
    let head = ["stage".to_owned()]
        .into_iter()
        .chain(measures.iter().map(Measure::name));
    let mut rows: Vec<Vec<String>> = vec![head.collect()];
    for stage in run.stages.iter().skip(first) {
        let cells = measures.iter().map(|measure| {
            let cell = measure.of(stage).map(|figure| measure.cell(figure));
            cell.unwrap_or_else(|| "-".to_owned())
        });
        rows.push([short(&stage.info.name)].into_iter().chain(cells).collect());
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=measures.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: String = row[1..]
            .iter()
            .zip(&widths[1..])
            .map(|(cell, width)| format!("  {cell:>width$}"))
            .collect();
        format!("  {:<width$}{cells}", row[0], width = widths[0])
    };
    rows.iter().map(line).collect()
}

fn short(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

/// Words in lines no wider than the screen; a figure and its error stay together.
fn wrapped(text: &str, first: &str, next: &str) -> Vec<String> {
    let text = unbroken(text);
    let mut lines = vec![first.to_owned()];
    let mut is_empty = true;
    for word in text.split(' ') {
        let width = lines.last().map_or(0, |line| line.chars().count());
        if !is_empty && width + 1 + word.chars().count() > WIDTH {
            lines.push(next.to_owned());
            is_empty = true;
        }
        if let Some(line) = lines.last_mut() {
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
        }
        is_empty = false;
    }
    lines.iter().map(|line| line.replace(NO_BREAK, " ")).collect()
}

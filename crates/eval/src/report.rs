//! Results as Markdown, which reads well on a terminal too.

use std::collections::BTreeMap;

use crate::{ChoiceScore, Estimate, ProblemScore, SourceLoss};

/// Lines of a table: the first is its head, columns but the first are set to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .map(|row| cell(row, column).chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, width) in widths.iter().enumerate() {
            let cell = cell(row, column);
            match column {
                0 => text.push_str(&format!("| {cell:<width$} |")),
                _ => text.push_str(&format!(" {cell:>width$} |")),
            }
        }
        text.push('\n');
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                match column {
                    0 => text.push_str(&format!("| {} |", "-".repeat(*width))),
                    _ => text.push_str(&format!(" {}: |", "-".repeat(width.saturating_sub(1)))),
                }
            }
            text.push('\n');
        }
    }
    text
}

fn percent(estimate: &Estimate) -> String {
    format!("{:.2}", estimate.percent())
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.into()
}

/// Accuracies by measure, and by subject where there are several.
pub fn choices(score: &ChoiceScore, subjects: &BTreeMap<String, ChoiceScore>) -> String {
    let mut text = table(&[
        row(["choice by log-likelihood".into(), "accuracy, %".into()]),
        row(["raw (acc)".into(), percent(&score.raw)]),
        row(["per character (acc_norm)".into(), percent(&score.per_character)]),
        row(["per byte (acc_bytes)".into(), percent(&score.per_byte)]),
        row(["per token".into(), percent(&score.per_token)]),
        row(["by guessing".into(), format!("{:.2}", 100.0 * score.chance)]),
    ]);
    text.push_str(&format!("\n{} items, ± standard error", score.items));
    if score.cut > 0 {
        text.push_str(&format!(
            "; the beginning of {} did not fit the model's context",
            score.cut
        ));
    }
    text.push_str(".\n");
    if subjects.len() > 1 {
        let mut rows = vec![row(["subject", "items", "raw", "per character"].map(String::from))];
        rows.extend(subjects.iter().map(|(subject, score)| {
            let (raw, normed) = (percent(&score.raw), percent(&score.per_character));
            row([subject.clone(), score.items.to_string(), raw, normed])
        }));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    text
}

/// How problems were solved.
pub fn problems(score: &ProblemScore) -> String {
    let mut rows = vec![
        row(["problems".into(), score.items.to_string()]),
        row(["pass@1, %".into(), percent(&score.pass_at_1)]),
        row([
            "with the answer marked, %".into(),
            percent(&score.pass_at_1_marked),
        ]),
    ];
    if let Some(majority) = &score.majority {
        rows.push(row([
            format!("majority of {}, %", score.samples),
            percent(majority),
        ]));
    }
    rows.push(row([
        "finished within the limit, %".into(),
        percent(&score.finished),
    ]));
    rows.push(row(["tokens a solution".into(), format!("{:.0}", score.tokens)]));
    table(&rows)
}

/// Loss by source.
pub fn losses(losses: &[SourceLoss]) -> String {
    let head = [
        "source",
        "documents",
        "tokens",
        "nats/token",
        "bits/byte",
        "perplexity",
    ];
    let mut rows = vec![row(head.map(String::from))];
    rows.extend(losses.iter().map(|loss| {
        row([
            loss.source.clone(),
            loss.documents.to_string(),
            loss.tokens.to_string(),
            format!("{:.4}", loss.nats_per_token),
            format!("{:.4}", loss.bits_per_byte),
            format!("{:.3}", loss.perplexity),
        ])
    }));
    table(&rows)
}

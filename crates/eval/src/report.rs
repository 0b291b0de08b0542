//! Results as Markdown, which reads well on a terminal too.

use std::collections::BTreeMap;

use crate::{ChoiceScore, Estimate, ProblemScore, SourceLoss};

/// Lines of a table: the first is its head, columns but the first are set to the right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                0 => text.push_str(&format!("| {cell:<width$} |")),
                _ => text.push_str(&format!(" {cell:>width$} |")),
            }
        }
        text.push('\n');
        if index == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                match column {
                    0 => text.push_str(&format!("| {} |", "-".repeat(width))),
                    _ => text.push_str(&format!(" {}: |", "-".repeat(width.saturating_sub(1)))),
                }
            }
            text.push('\n');
        }
    }
    text
}

fn percent(estimate: &Estimate) -> String {
    format!("{:.2}", estimate.times(100.0))
}

/// Accuracies by measure, and by subject where there are several.
pub fn choices(score: &ChoiceScore, subjects: &BTreeMap<String, ChoiceScore>) -> String {
    let mut text = table(&[
        ["choice by log-likelihood".into(), "accuracy, %".into()],
        ["raw (acc)".into(), percent(&score.raw)],
        ["per character (acc_norm)".into(), percent(&score.per_character)],
        ["per byte (acc_bytes)".into(), percent(&score.per_byte)],
        ["per token".into(), percent(&score.per_token)],
        ["by guessing".into(), format!("{:.2}", 100.0 * score.chance)],
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
        let mut rows = vec![["subject", "items", "raw", "per character"].map(String::from)];
        rows.extend(subjects.iter().map(|(subject, score)| {
            let (raw, normed) = (percent(&score.raw), percent(&score.per_character));
            [subject.clone(), score.items.to_string(), raw, normed]
        }));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    text
}

/// How problems were solved.
pub fn problems(score: &ProblemScore) -> String {
    let mut rows = vec![
        ["problems".into(), score.items.to_string()],
        ["pass@1, %".into(), percent(&score.pass_at_1)],
        [
            "with the answer marked, %".into(),
            percent(&score.pass_at_1_marked),
        ],
    ];
    if let Some(majority) = &score.majority {
        rows.push([format!("majority of {}, %", score.samples), percent(majority)]);
    }
    rows.push(["finished within the limit, %".into(), percent(&score.finished)]);
    rows.push(["tokens a solution".into(), format!("{:.0}", score.tokens)]);
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
    let mut rows = vec![head.map(String::from)];
    rows.extend(losses.iter().map(|loss| {
        [
            loss.source.clone(),
            loss.documents.to_string(),
            loss.tokens.to_string(),
            format!("{:.4}", loss.nats_per_token),
            format!("{:.4}", loss.bits_per_byte),
            format!("{:.3}", loss.perplexity),
        ]
    }));
    table(&rows)
}

//! What was measured of it: `evaluation.json`.

use smollm3_records::{Evaluation, ModeScore, PositionLoss, ProbeScore, TextLoss};

use crate::facts::Facts;
use crate::table::table;

/// Tables of all that there is.
pub(crate) fn evaluation(facts: &Facts) -> String {
    let Some(found) = &facts.evaluation else {
        return String::new();
    };
    let tables = [
        held_out(found),
        by_mode(&found.exact_match, "sums answered right"),
        by_mode(&found.preference, "preferred answers likelier than the others"),
        long_context(found),
        by_position(found),
    ];
    match tables.concat() {
        tables if tables.is_empty() => tables,
        tables => format!("## Evaluation\n\n{tables}"),
    }
}

/// `61.0 % ± 4.9`.
fn percent(score: f64, standard_error: f64) -> String {
    format!("{:.1} % ± {:.1}", 100.0 * score, 100.0 * standard_error)
}

fn held_out(found: &Evaluation) -> String {
    let row = |(category, loss): (&String, &TextLoss)| {
        let decimals = |value: f64| format!("{value:.3}");
        vec![
            category.clone(),
            decimals(loss.nats_per_token),
            decimals(loss.bits_per_byte),
        ]
    };
    let rows: Vec<_> = found.held_out.iter().map(row).collect();
    table(
        &["text kept out of training", "nats a token:", "bits a byte:"],
        &rows,
    )
}

fn by_mode(scores: &[ModeScore], what: &str) -> String {
    let row = |of: &ModeScore| {
        vec![
            of.mode().to_string(),
            percent(of.score, of.standard_error),
            of.items.to_string(),
        ]
    };
    let rows: Vec<_> = scores.iter().map(row).collect();
    table(&[what, "score:", "items:"], &rows)
}

fn long_context(found: &Evaluation) -> String {
    let row = |of: &ProbeScore| {
        vec![
            of.task.to_string(),
            of.length.to_string(),
            percent(of.score, of.standard_error),
        ]
    };
    let rows: Vec<_> = found.long_context.iter().map(row).collect();
    table(&["found in long texts", "tokens:", "score:"], &rows)
}

fn by_position(found: &Evaluation) -> String {
    let row = |of: &PositionLoss| vec![format!("{} to {}", of.from, of.to), format!("{:.3}", of.loss)];
    let rows: Vec<_> = found.loss_by_position.iter().map(row).collect();
    table(&["position", "nats a token:"], &rows)
}

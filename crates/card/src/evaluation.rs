//! What was measured of the checkpoint: `evaluation.json`.

use smollm3_records::{Evaluation, ModeScore};

use crate::facts::Facts;
use crate::table::table;

/// The section with a table of each measurement.
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
    let rows = found.held_out.iter().map(|(category, loss)| {
        let [nats, bits] = [loss.nats_per_token, loss.bits_per_byte].map(|value| format!("{value:.3}"));
        vec![category.clone(), nats, bits]
    });
    table(
        &["text kept out of training", "nats a token:", "bits a byte:"],
        rows,
    )
}

fn by_mode(scores: &[ModeScore], what: &str) -> String {
    let rows = scores.iter().map(|of| {
        let score = percent(of.score, of.standard_error);
        vec![of.mode().to_string(), score, of.items.to_string()]
    });
    table(&[what, "score:", "items:"], rows)
}

fn long_context(found: &Evaluation) -> String {
    let rows = found.long_context.iter().map(|of| {
        let score = percent(of.score, of.standard_error);
        vec![of.task.to_string(), of.length.to_string(), score]
    });
    table(&["found in long texts", "tokens:", "score:"], rows)
}

fn by_position(found: &Evaluation) -> String {
    let rows = found.loss_by_position.iter();
    let rows = rows.map(|of| vec![format!("{} to {}", of.from, of.to), format!("{:.3}", of.loss)]);
    table(&["position", "nats a token:"], rows)
}

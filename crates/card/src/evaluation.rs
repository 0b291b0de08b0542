//! What was measured of it: `evaluation.json`.

use serde_json::Value;

use crate::facts::Facts;
use crate::table::table;

/// Tables of all that there is.
pub(crate) fn evaluation(facts: &Facts) -> String {
    let Some(found) = &facts.evaluation else {
        return String::new();
    };
    let tables = [
        held_out(found),
        by_mode(found, "exact_match", "sums answered right"),
        by_mode(found, "preference", "right sums likelier than wrong ones"),
        long_context(found),
        by_position(found),
    ];
    match tables.concat() {
        tables if tables.is_empty() => tables,
        tables => format!("## Evaluation\n\n{tables}"),
    }
}

fn number(of: &Value, key: &str) -> Option<f64> {
    of.get(key).and_then(Value::as_f64)
}

fn decimals(of: &Value, key: &str) -> String {
    number(of, key).map_or(String::new(), |value| format!("{value:.3}"))
}

/// `61.0 % ± 4.9`.
fn score(of: &Value) -> String {
    match (number(of, "score"), number(of, "standard_error")) {
        (Some(score), Some(error)) => format!("{:.1} % ± {:.1}", 100.0 * score, 100.0 * error),
        _ => String::new(),
    }
}

fn items(of: &Value, key: &str) -> Vec<Value> {
    of.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn held_out(found: &Value) -> String {
    let row = |(category, loss): (&String, &Value)| {
        vec![
            category.clone(),
            decimals(loss, "nats_per_token"),
            decimals(loss, "bits_per_byte"),
        ]
    };
    let losses = found
        .get("held_out")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let rows: Vec<_> = losses.map(row).collect();
    table(
        &["text kept out of training", "nats a token:", "bits a byte:"],
        &rows,
    )
}

fn by_mode(found: &Value, key: &str, what: &str) -> String {
    let row = |of: &Value| {
        let mode = match of.get("think").and_then(Value::as_bool) {
            Some(true) => "/think",
            _ => "/no_think",
        };
        let count = number(of, "items").map_or(String::new(), |items| items.to_string());
        vec![mode.to_owned(), score(of), count]
    };
    let rows: Vec<_> = items(found, key).iter().map(row).collect();
    table(&[what, "score:", "items:"], &rows)
}

fn long_context(found: &Value) -> String {
    let row = |of: &Value| {
        let task = of
            .get("task")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let length = number(of, "length").map_or(String::new(), |length| length.to_string());
        vec![task, length, score(of)]
    };
    let rows: Vec<_> = items(found, "long_context").iter().map(row).collect();
    table(&["found in long texts", "tokens:", "score:"], &rows)
}

fn by_position(found: &Value) -> String {
    let row = |of: &Value| {
        let at = |key| number(of, key).map_or(String::new(), |at| at.to_string());
        vec![format!("{} to {}", at("from"), at("to")), decimals(of, "loss")]
    };
    let rows: Vec<_> = items(found, "loss_by_position").iter().map(row).collect();
    table(&["position", "nats a token:"], &rows)
}

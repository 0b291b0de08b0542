//! The tables of a stage's numbers.

use std::collections::BTreeMap;

use smollm3_page::{card, escape, html_table, table};
use smollm3_records::{Evaluation, HeldOutRecord, Incident, Ledger, MeasureRecord};

use crate::StageFiles;
use crate::status::{duration, tokens};

/// The cards of a stage's numbers; `of` is added to their titles.
pub(super) fn tables(page: &mut String, stage: &StageFiles, of: &str) {
    let mut add = |title: &str, content: &str| card(page, &format!("{title}{of}"), content);
    if !stage.info.phases.is_empty() {
        add("Shares of sequences, asked and got", &shares(stage));
    }
    if !stage.held_out.is_empty() {
        add("Held-out loss", &held_out(stage));
    }
    if !stage.measured.is_empty() {
        add("Held-out pairs", &measured(stage));
    }
    if let Some(ledger) = &stage.ledger {
        add("Tokens of the conversations", &ledger_table(ledger));
    }
    if let Some(evaluation) = &stage.evaluation {
        add("Evaluation of the last checkpoint", &evaluation_table(evaluation));
    }
    add("Checkpoints", &checkpoints(stage));
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
        let name = format!("loss at positions {} to {}", part.from, part.to - 1);
        vec![name, format!("{:.3} ± {:.3}", part.loss, part.standard_error)]
    });
    let probes = evaluation.long_context.iter().map(|score| {
        let name = format!("{} at {} tokens", score.task, score.length);
        vec![name, percent(score.score, score.standard_error)]
    });
    let sums = evaluation.exact_match.iter().map(|score| {
        let name = format!("sums, {}", score.mode());
        vec![name, percent(score.score, score.standard_error)]
    });
    let text = evaluation.held_out.iter().map(|(category, loss)| {
        let (nats, bits) = (loss.nats_per_token, loss.bits_per_byte);
        let found = format!("{nats:.3} nats/token, {bits:.3} bits/byte");
        vec![format!("held-out {category}"), found]
    });
    let pairs = evaluation.preference.iter().map(|score| {
        let name = format!("preferred answers likelier, {}", score.mode());
        vec![name, percent(score.score, score.standard_error)]
    });
    table(
        &["measured", "result (± standard error)"],
        text.chain(losses).chain(probes).chain(sums).chain(pairs),
    )
}

/// A row a run.
pub(super) fn overview(runs: &[(&str, &StageFiles)]) -> String {
    let none = || "–".to_owned();
    let rows = runs.iter().map(|(run, stage)| {
        let (info, last) = (&stage.info, stage.steps.last());
        vec![
            (*run).to_owned(),
            format!("{} of {}", stage.done(), info.steps),
            last.map_or_else(none, |step| format!("{:.4}", step.loss)),
            last.map_or_else(none, |step| tokens(step.tokens)),
            stage
                .tokens_per_second()
                .map_or_else(none, |rate| format!("{rate:.0}")),
            stage.mfu_percent().map_or_else(none, |mfu| format!("{mfu:.1} %")),
            duration(stage.seconds()),
            stage.seconds_left().map_or_else(none, duration),
            info.sequence_length.to_string(),
            info.rope_theta.to_string(),
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
    table(&head, rows)
}

fn shares(stage: &StageFiles) -> String {
    let mut rows = Vec::new();
    for phase in &stage.info.phases {
        let mut got: BTreeMap<&str, u64> = BTreeMap::new();
        let of_phase = phase.first..=phase.last;
        let steps = stage.steps.iter().filter(|step| of_phase.contains(&step.step));
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
    let row = |record: &HeldOutRecord| {
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
    let row = |record: &MeasureRecord| {
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

/// What should not have happened; nothing if nothing did.
pub(super) fn incidents(stage: &StageFiles) -> String {
    if stage.incidents.is_empty() {
        return String::new();
    }
    let row = |incident: &Incident| {
        let what = escape(&incident.kind.to_string());
        vec![
            incident.step.to_string(),
            format!("<span class=\"bad\">{what}</span>"),
        ]
    };
    let rows = html_table(&["step", "what"], stage.incidents.iter().map(row));
    format!("<div class=\"texts\">{rows}</div>")
}

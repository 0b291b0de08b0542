//! How the model was trained, and on what.

use std::collections::BTreeMap;

use smollm3_recipe::HubId;
use smollm3_records::WRITTEN_RECIPE;
use toml::Value;

use crate::facts::{Facts, LAST_STEPS, MergedParent, Stage, count, text_at};
use crate::origin::{origin, parts};
use crate::table::table;

/// The version of the tensor library, which a test compares with the workspace's.
pub(crate) const BURN: &str = "0.22.1";

/// Stages, data and losses; for a merge, its parents.
pub(crate) fn training(facts: &Facts) -> String {
    let mut text = String::new();
    if !facts.stages.is_empty() {
        text.push_str("## Training\n\n");
        text.push_str(&stages(facts));
        text.push_str(&data(facts));
        text.push_str(&held_out(facts));
    }
    text + &merge(facts)
}

fn stages(facts: &Facts) -> String {
    let row = |stage: &Stage| {
        let info = stage.info.as_ref();
        let number = |value: Option<u64>| value.map_or(String::new(), count);
        let rate = stage
            .written
            .get("optimizer")
            .and_then(|optimizer| optimizer.get("learning_rate"));
        vec![
            stage.name.clone(),
            text_at(&stage.written, "kind").unwrap_or_default().to_owned(),
            start(facts, stage),
            stage.step.to_string(),
            number(info.map(|info| info.tokens_per_step * stage.step)),
            number(info.map(|info| info.sequence_length)),
            rate.map_or(String::new(), ToString::to_string),
            stage.loss.map_or(String::new(), |loss| format!("{loss:.3}")),
        ]
    };
    let head = [
        "stage",
        "kind",
        "from",
        "steps:",
        "tokens:",
        "row:",
        "learning rate:",
        "loss:",
    ];
    let note = match facts.stages.iter().any(|stage| stage.loss.is_some()) {
        true => format!("Loss is the mean of the last {LAST_STEPS} steps, on what was trained on. "),
        false => String::new(),
    };
    format!(
        "{}{note}`{WRITTEN_RECIPE}` beside this card has every setting; `smollm3 run` takes it.\n\n",
        table(&head, facts.stages.iter().map(row))
    )
}

/// What a stage starts from, without paths of this machine.
fn start(facts: &Facts, stage: &Stage) -> String {
    let model = || facts.recipe.as_ref()?.get("model")?.get("checkpoint");
    let Some(from) = stage.written.get("from").or_else(model).and_then(Value::as_str) else {
        return "random".to_owned();
    };
    let is_stage = facts.stages.iter().any(|stage| stage.name == from);
    match HubId::parse(from).filter(|_| !is_stage).map(|id| id.model()) {
        _ if is_stage => from.to_owned(),
        Some(model) if let Some(commit) = facts.pins.get(&model) => {
            format!("{model} ({})", commit.get(..8).unwrap_or(commit))
        }
        _ => "a checkpoint".to_owned(),
    }
}

fn data(facts: &Facts) -> String {
    let mut rows = Vec::new();
    for stage in &facts.stages {
        let Some(info) = &stage.info else { continue };
        let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
        let mut all = 0.0;
        for phase in info.phases.iter().filter(|phase| phase.first <= stage.step) {
            let steps = (phase.last.min(stage.step) + 1).saturating_sub(phase.first) as f64;
            all += steps;
            for (name, share) in &phase.shares {
                *shares.entry(name).or_default() += steps * share;
            }
        }
        for (name, share) in shares {
            let parts = parts(facts, stage, name);
            // How much of a source each of several data sets is, the checkpoint does not tell.
            let share = match parts.len() {
                1 => format!("{:.1} %", 100.0 * share / f64::max(all, 1.0)),
                _ => String::new(),
            };
            for name in parts {
                let (origin, license) = origin(facts, stage, name);
                let license = license.unwrap_or_else(|| "not stated".to_owned());
                rows.push(vec![
                    stage.name.clone(),
                    name.to_owned(),
                    share.clone(),
                    origin,
                    license,
                ]);
            }
        }
    }
    titled(
        "### Data",
        table(&["stage", "data", "share:", "from", "licence"], rows),
    )
}

fn held_out(facts: &Facts) -> String {
    let rows = facts.stages.iter().flat_map(|stage| {
        let losses = stage.held_out.iter();
        losses.map(|(category, nats)| vec![stage.name.clone(), category.clone(), format!("{nats:.3}")])
    });
    titled(
        "### Losses",
        table(&["stage", "text kept out of training", "nats a token:"], rows),
    )
}

/// A title above what there is; nothing where there is nothing.
fn titled(title: &str, found: String) -> String {
    match found.is_empty() {
        true => found,
        false => format!("{title}\n\n{found}"),
    }
}

fn merge(facts: &Facts) -> String {
    let Some(merge) = &facts.merge else {
        return String::new();
    };
    let row = |parent: &MergedParent| {
        let MergedParent { weight, share, .. } = parent;
        vec![called(parent), weight.to_string(), format!("{share:.3}")]
    };
    format!(
        "## Merge\n\nA weighted mean of checkpoints, computed in float32 and written as {}.\n\n{}",
        merge.dtype,
        table(
            &["checkpoint", "weight:", "share:"],
            merge.parents.iter().map(row)
        )
    )
}

/// `owner/name` of a model of the Hub's cache, else the folder's last names.
fn called(parent: &MergedParent) -> String {
    let parts: Vec<String> = parent
        .folder
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if let Some(hub) = parts.iter().rev().find_map(|part| part.strip_prefix("models--")) {
        return hub.replacen("--", "/", 1);
    }
    match parts.as_slice() {
        [.., stage, step] if step.starts_with("step-") => format!("{stage}/{step}"),
        [.., last] => last.clone(),
        [] => String::new(),
    }
}

/// The versions and settings that it was made with.
pub(crate) fn versions(facts: &Facts) -> String {
    let Some(state) = &facts.state else {
        return String::new();
    };
    let of_run = |key: &str| {
        let value = facts.recipe.as_ref()?.get("run")?.get(key)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let rows = [
        ("smollm3", Some(state.version.clone())),
        ("burn", Some(BURN.to_owned())),
        ("backend", of_run("backend")),
        ("precision", of_run("precision")),
        ("seed", of_run("seed")),
        ("recipe's fingerprint", Some(state.recipe.clone())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(vec![name.to_owned(), value.filter(|value| !value.is_empty())?]));
    format!("## Made with\n\n{}", table(&["", ""], rows))
}

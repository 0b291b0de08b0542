//! Rows of a validation file, parts and numbers of rows, the end of a stage that no longer gains, and its best checkpoint.

mod stopped;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use smollm3_collective::{Collective, Threads};
use smollm3_conversations::{ConversationEncoder, Prepared};
use smollm3_engine::Run;
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{
    HeldOutRecord, Listeners, Metrics, Record, ValidationState, checkpoint, read_metrics, read_stage,
};
use smollm3_sft::fine_tune;
use stopped::run;
use support::recipe;

const STEPS: u64 = 40;

const STAGE: &str = r#"
[[stage]]
name = "sft"
kind = "sft"
from = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
until = "40 steps"
template = "chatml-masked"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "constant" }
checkpoint = { keep = 1 }
data = [{ name = "chats", paths = ["chats.jsonl"] }]
validation = { paths = ["dev.jsonl"], every = "2 steps", best = "load", stop_early = { patience = 3 } }

[[stage]]
name = "next"
kind = "sft"
from = "sft"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
until = "1 steps"
template = "chatml-masked"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "constant" }
data = [{ name = "chats", paths = ["chats.jsonl"] }]
"#;

fn rows(path: &Path, rows: impl Iterator<Item = (String, String)>) {
    let text: String = rows
        .map(|(asked, said)| {
            let row = json!({"messages": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": said},
            ]});
            format!("{row}\n")
        })
        .collect();
    fs::write(path, text).unwrap();
}

/// What is validated is answered otherwise than what is trained on, so that the loss falls as the form is learned, and
/// rises as the answers are.
fn stopping(folder: &Path, overrides: &[&str]) -> Recipe {
    recipe(folder, "flex", &[]);
    let yes = |i: u64| if i.is_multiple_of(3) { "yes" } else { "no" };
    rows(
        &folder.join("chats.jsonl"),
        (0..200).map(|i| (format!("Is {i} even?"), yes(i).to_owned())),
    );
    rows(
        &folder.join("dev.jsonl"),
        (0..20).map(|i| (format!("Is {} even?", 300 + i), "maybe".to_owned())),
    );
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + STAGE).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::load(folder, &overrides).unwrap()
}

fn held_out(stage: &Path) -> Vec<HeldOutRecord> {
    let records = read_metrics(stage).unwrap().into_iter();
    records
        .filter_map(|record| match record {
            Record::HeldOut(record) => Some(record),
            _ => None,
        })
        .collect()
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    files
        .map(|path| (name(&path), fs::read(&path).unwrap()))
        .collect()
}

fn newest(stage: &Path) -> (checkpoint::Progress, PathBuf) {
    checkpoint::last(stage).unwrap().unwrap()
}

#[test]
fn a_stage_ends_where_it_no_longer_gains_and_the_best_checkpoint_stays() {
    let folder = tempfile::tempdir().unwrap();
    run(stopping(folder.path(), &[]), 0, 3).unwrap();
    let stage = folder.path().join("out/sft");
    let losses = held_out(&stage);
    let measured: Vec<(u64, f64)> = losses[1..]
        .iter()
        .map(|record| (record.step, record.nats_per_token))
        .collect();
    let best = measured.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let (progress, last) = newest(&stage);
    // Three measurements after the best, two steps apart.
    assert!(
        best.0 > 2 && progress.step == best.0 + 6 && progress.step < STEPS,
        "{measured:?}"
    );
    assert_eq!(progress.steps, progress.step, "it is the end of the stage");
    assert_eq!(read_stage(&stage).unwrap().unwrap().steps, progress.step);
    let state: ValidationState = progress.validation.clone().unwrap();
    assert_eq!((state.best.as_ref().unwrap().step, state.ended), (best.0, true));
    assert_eq!(state.best.unwrap().loss.to_bits(), best.1.to_bits());
    // `keep = 1` is the end.
    let there: Vec<u64> = checkpoint::list(&stage)
        .unwrap()
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    assert_eq!(there, [best.0, progress.step]);
    let record: Value = serde_json::from_slice(&fs::read(stage.join("validation.json")).unwrap()).unwrap();
    assert_eq!(record["checkpoint"], json!(checkpoint::folder_name(best.0)));
    assert_eq!(
        (&record["best"]["step"], &record["ended"]),
        (&json!(best.0), &json!(true))
    );

    // What it is trained on has nothing held back, and the file's rows are all measured.
    let report: Value =
        serde_json::from_slice(&fs::read(folder.path().join("out/conversations/sft/report.json")).unwrap())
            .unwrap();
    let rows = |name: &str| report["data"][name]["held_out"].as_u64().unwrap();
    assert_eq!((rows("chats"), rows("validation")), (0, 20));

    // The next stage starts from the best.
    let started = |overrides: &[&str]| {
        let run = Run::open(stopping(folder.path(), overrides), &mut Listeners::default()).unwrap();
        run.last_checkpoint(&run.recipe.stages[2], "sft").unwrap()
    };
    assert_eq!(started(&[]), stage.join(checkpoint::folder_name(best.0)));
    fs::remove_dir_all(stage.join(checkpoint::folder_name(best.0))).unwrap();
    let recipe = stopping(folder.path(), &[]);
    let run = Run::open(recipe, &mut Listeners::default()).unwrap();
    let error = run
        .last_checkpoint(&run.recipe.stages[2], "sft")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("its best checkpoint") && error.contains("is gone"),
        "{error}"
    );
    assert!(last.is_dir());
}

#[test]
fn rows_that_become_those_of_validation_are_trained_on_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    stopping(folder.path(), &[]);
    let file = folder.path().join("recipe.toml");
    let validated = fs::read_to_string(&file).unwrap();
    let data =
        "data = [{ name = \"chats\", paths = [\"chats.jsonl\"] }]\nvalidation = { paths = [\"dev.jsonl\"]";
    let both = "data = [{ name = \"chats\", paths = [\"chats.jsonl\"] }, { name = \"validation\", paths = [\"dev.jsonl\"] }]\n# ";
    assert!(validated.contains(data));
    let trained = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut recipe = Recipe::load(folder.path(), &[]).unwrap();
        let mut silent = Listeners::default();
        let data = smollm3_engine::prepare(&mut recipe, &mut silent).unwrap();
        let stage = recipe.stage("sft").unwrap();
        let tuning = stage.fine_tuning().unwrap();
        let encoder = ConversationEncoder::of(&recipe, &data.tokenizer, stage, tuning).unwrap();
        Prepared::of(&recipe, &data, stage, &tuning.chat.data, &encoder, &mut silent).unwrap();
        let report = fs::read(folder.path().join("out/conversations/sft/report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        report["data"]["validation"]["trained"].as_u64().unwrap()
    };
    assert!(trained(&validated.replacen(data, both, 1)) > 0);
    assert_eq!(trained(&validated), 0);
}

#[test]
fn a_stop_anywhere_ends_in_the_same_step_and_bits() {
    let whole = tempfile::tempdir().unwrap();
    run(stopping(whole.path(), &[]), 0, 2).unwrap();
    let stage = whole.path().join("out/sft");
    let (end, last) = newest(&stage);
    // Of the last four, those that are measured and no better are written by the stop alone.
    for stop in [1, 4, end.step - 4, end.step - 3, end.step - 2, end.step - 1] {
        let broken = tempfile::tempdir().unwrap();
        run(stopping(broken.path(), &[]), stop, 2).unwrap_err();
        run(stopping(broken.path(), &[]), 0, 2).unwrap();
        let again = broken.path().join("out/sft");
        let (found, folder) = newest(&again);
        assert_eq!(found, end, "stopped after {stop}");
        assert!(contents(&last) == contents(&folder), "stopped after {stop}");
        assert_eq!(held_out(&stage), held_out(&again));
        let steps = |stage: &Path| -> Vec<u64> {
            checkpoint::list(stage)
                .unwrap()
                .into_iter()
                .map(|(step, _)| step)
                .collect()
        };
        assert_eq!(steps(&stage), steps(&again), "stopped after {stop}");
    }
}

#[test]
fn ranks_end_together_where_one_does() {
    let alone = tempfile::tempdir().unwrap();
    run(stopping(alone.path(), &[]), 0, 2).unwrap();
    let (expected, _) = newest(&alone.path().join("out/sft"));
    let folder = tempfile::tempdir().unwrap();
    let recipe = stopping(folder.path(), &[]);
    Threads::run(2, Duration::from_secs(120), |rank| {
        let mut listeners = Listeners::default();
        if rank.rank() == 0 {
            listeners = listeners.with(Metrics::default());
        }
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut listeners).unwrap();
        let stop = AtomicBool::new(false);
        for stage in &run.recipe.stages[..2] {
            match stage.fine_tuning() {
                Some(tuning) => fine_tune(&run, stage, tuning, &stop, &mut listeners).unwrap(),
                None => pretrain(&run, stage, &stop, &mut listeners).unwrap(),
            }
        }
    });
    let (found, _) = newest(&folder.path().join("out/sft"));
    assert_eq!((found.step, found.steps), (expected.step, expected.steps));
}

/// The questions of what a stage is trained on, by data set.
fn prepared(
    folder: &Path,
    data: &str,
    seed: u64,
) -> smollm3_conversations::Result<BTreeMap<String, BTreeSet<Vec<u32>>>> {
    let _ = fs::remove_dir_all(folder.join("out"));
    let overrides = [
        format!("stage.sft.data=[{data}]"),
        "data.held_out=0%".to_owned(),
        format!("run.seed={seed}"),
    ];
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let recipe = stopping(folder, &overrides);
    for name in ["a", "b"] {
        rows(
            &folder.join(format!("{name}.jsonl")),
            (0..50).map(|i| (format!("{name} {i}"), "yes".to_owned())),
        );
    }
    let run = Run::open(recipe, &mut Listeners::default())?;
    let stage = &run.recipe.stages[1];
    let fine_tuning = stage.fine_tuning().unwrap();
    let encoder = ConversationEncoder::of(&run.recipe, &run.data.tokenizer, stage, fine_tuning)?;
    let made = Prepared::of(
        &run.recipe,
        &run.data,
        stage,
        &fine_tuning.chat.data,
        &encoder,
        &mut Listeners::default(),
    )?;
    let mut found: BTreeMap<String, BTreeSet<Vec<u32>>> = BTreeMap::new();
    let mut first = 0;
    for data in &fine_tuning.chat.data {
        let rows = made.reports[&data.name].trained;
        let tokens = (first..first + rows).map(|row| made.train.conversation(row).unwrap().ids);
        found.insert(data.name.clone(), tokens.collect());
        first += rows;
    }
    Ok(found)
}

#[test]
fn a_part_and_a_number_of_rows_are_the_same_rows_whatever_others_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, more: &str| format!("{{ name = \"{name}\", paths = [\"{name}.jsonl\"]{more} }}");
    let alone = prepared(folder.path(), &of("a", ", fraction = 0.5"), 5).unwrap();
    assert_eq!(alone["a"].len(), 25);
    let both = [of("b", ", rows = 7"), of("a", ", fraction = 0.5")].join(", ");
    let both = prepared(folder.path(), &both, 5).unwrap();
    assert_eq!((&both["a"], both["b"].len()), (&alone["a"], 7));
    let weighted = prepared(folder.path(), &of("a", ", weight = 0.5"), 5).unwrap();
    assert_eq!(weighted, alone);
    // Fewer rows are some of more, and another seed has others.
    let fewer = prepared(folder.path(), &of("a", ", rows = 10"), 5).unwrap();
    assert!(fewer["a"].len() == 10 && fewer["a"].is_subset(&alone["a"]));
    let other = prepared(folder.path(), &of("a", ", fraction = 0.5"), 6).unwrap();
    assert!(other["a"].len() == 25 && other != alone);
    let error = prepared(folder.path(), &of("a", ", rows = 51"), 5)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("51 rows of a are wanted, but it has 50"),
        "{error}"
    );
}

#[test]
fn a_validation_file_without_rows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = stopping(folder.path(), &[]);
    fs::write(folder.path().join("dev.jsonl"), "\n").unwrap();
    let error = run(recipe, 0, 2).unwrap_err().to_string();
    assert!(
        error.contains("stage.sft.validation: no row is left to measure on"),
        "{error}"
    );
}

//! Stages on pairs, run, stopped and gone on with; pairs that are none.

#[path = "../../inference/tests/damage/mod.rs"]
mod damage;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use damage::damage;
use serde_json::{Value, json};
use smollm3_apo::{prefer, prepared_data};
use smollm3_engine::{Run, checkpoint};
use smollm3_pretrain::pretrain;
use smollm3_recipe::{Recipe, RecipeError};
use smollm3_records::{
    Event, IncidentKind, Listener, MeasureRecord, Metrics, Record, StepRecord, read_incidents, read_metrics,
};
use support::recipe;

const STEPS: u64 = 6;

const STAGE: &str = r#"
[[stage]]
name = "apo"
kind = "apo"
from = "pretrain"
sequence_length = 48
global_batch = "8 pairs"
row_length = 128
until = "6 steps"
template = "chatml"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
checkpoint = { every = "1 steps", keep = 20 }
data = [{ name = "numbers", paths = ["pairs.jsonl"] }, { name = "few", paths = ["few.jsonl"], weight = 0.5 }]
"#;

fn say(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn pair(question: &str, right: &str, wrong: &str) -> Value {
    json!({
        "prompt": question,
        "chosen": [say("user", question), say("assistant", right)],
        "rejected": [say("user", question), say("assistant", wrong)],
    })
}

fn write_rows(path: &Path, rows: &[Value]) {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(path, text).unwrap();
}

/// The tiny recipe, with pairs and a stage on them.
fn preferring(folder: &Path, overrides: &[&str]) -> Result<Recipe, RecipeError> {
    recipe(folder, "flex", &[]);
    let numbers: Vec<Value> = (0..100)
        .map(|i| pair(&format!("Is {i} a number?"), "yes", "no"))
        .collect();
    write_rows(&folder.join("pairs.jsonl"), &numbers);
    let few: Vec<Value> = (0..21)
        .map(|i| pair(&format!("Say {i}."), &i.to_string(), &(i + 1).to_string()))
        .collect();
    write_rows(&folder.join("few.jsonl"), &few);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + STAGE).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::load(folder, &overrides)
}

/// Writes the metrics, keeps the notes, and asks for a stop at an event.
struct Watch<'a> {
    metrics: Metrics,
    notes: Vec<String>,
    stop: &'a AtomicBool,
    stop_at: Stop,
    preparing: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Never,
    Step(u64),
    /// In the middle of computing the reference.
    Reference,
}

impl Listener for Watch<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        match event {
            Event::Note(text) => self.notes.push(text.clone()),
            Event::Step(record) if self.stop_at == Stop::Step(record.step) && record.observed.len() == 7 => {
                self.stop.store(true, Ordering::Relaxed);
            }
            Event::Preparing { what, done, total } if what.starts_with("reference") => {
                self.preparing += 1;
                if self.stop_at == Stop::Reference && *done > 0 && done < total {
                    return Err(smollm3_records::RecordError::Refused("stopped".to_owned()));
                }
            }
            _ => {}
        }
        self.metrics.on(event)
    }
}

/// Runs all stages; returns the notes and how often the reference was told of.
fn run(recipe: Recipe, stop_at: Stop) -> smollm3_conversations::Result<(Vec<String>, u32)> {
    let stop = AtomicBool::new(false);
    let mut watch = Watch {
        metrics: Metrics::default(),
        notes: Vec::new(),
        stop: &stop,
        stop_at,
        preparing: 0,
    };
    let run = Run::open(recipe, &mut watch)?;
    for stage in &run.recipe.stages {
        match stage.preference() {
            Some(preference) => prefer(&run, stage, preference, &stop, &mut watch)?,
            None => pretrain(&run, stage, &stop, &mut watch)?,
        }
    }
    Ok((watch.notes, watch.preparing))
}

fn files(folder: &Path, step: u64) -> BTreeMap<String, Vec<u8>> {
    let last = folder.join("out/apo").join(checkpoint::folder_name(step));
    let entries = fs::read_dir(last).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (
            entry.file_name().into_string().unwrap(),
            fs::read(entry.path()).unwrap(),
        )
    };
    entries.filter(|entry| entry.path().is_file()).map(read).collect()
}

fn records(folder: &Path) -> (Vec<StepRecord>, Vec<MeasureRecord>) {
    let (mut steps, mut measured) = (Vec::new(), Vec::new());
    for record in read_metrics(&folder.join("out/apo")).unwrap() {
        match record {
            Record::Step(record) => steps.push(record),
            Record::Measured(record) => measured.push(record),
            Record::HeldOut(_) => {}
        }
    }
    (steps, measured)
}

/// All of the records that does not depend on the clock.
fn timeless(folder: &Path) -> (Vec<StepRecord>, Vec<MeasureRecord>) {
    let (mut steps, measured) = records(folder);
    for step in &mut steps {
        step.seconds = 0.0;
        step.data_seconds = 0.0;
    }
    (steps, measured)
}

#[test]
fn a_stage_learns_which_answer_is_preferred() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = [
        "stage.apo.until=40 steps",
        "stage.apo.checkpoint.keep=1",
        "stage.apo.loss.beta=0.5",
    ];
    let (notes, _) = run(preferring(folder.path(), &overrides).unwrap(), Stop::Never).unwrap();
    // Half of 21, rounded down.
    assert!(
        notes.iter().any(|note| note.starts_with("few: 10 of 21 rows")),
        "{notes:?}"
    );
    let recipe = preferring(folder.path(), &[]).unwrap();
    let found = prepared_data(&recipe, &recipe.stages[1]).unwrap();
    let expected = format!(
        "apo: {} pairs of {} tokens, prompts counted twice",
        found.rows, found.tokens
    );
    assert!(notes.contains(&expected), "{expected} of {notes:?}");
    let (steps, measured) = records(folder.path());
    let first = &steps[0];
    // The model is its own reference.
    assert!((first.loss - 1.0).abs() < 1e-6, "{first:?}");
    assert!(first.observed["rewards/margins"].abs() < 1e-6 && first.observed["kl"].abs() < 1e-6);
    assert_eq!(first.sources.values().map(|source| source.rows).sum::<u64>(), 8);
    let last = &steps[39];
    assert!(last.observed["rewards/margins"] > 0.3, "{last:?}");
    assert!(last.loss < 0.9, "{last:?}");
    let of = |phase: &str, name: &str| {
        let found = measured
            .iter()
            .find(|record| record.phase == phase && record.name == name);
        found
            .unwrap_or_else(|| panic!("{phase} {name} of {measured:?}"))
            .value
    };
    assert!(of("start", "reward margin").abs() < 1e-5);
    assert!((of("start", "loss of pairs") - 1.0).abs() < 1e-5);
    assert!(of("apo", "reward margin") > 0.2, "{measured:?}");
    assert!(of("apo", "preference accuracy") > 0.7, "{measured:?}");
    let found = files(folder.path(), 40);
    assert!(found.contains_key("chat_template.jinja"));
}

#[test]
fn a_stop_after_any_step_changes_no_bit() {
    let whole = tempfile::tempdir().unwrap();
    run(preferring(whole.path(), &[]).unwrap(), Stop::Never).unwrap();
    for stop in [Stop::Reference, Stop::Step(1), Stop::Step(4)] {
        let broken = tempfile::tempdir().unwrap();
        run(preferring(broken.path(), &[]).unwrap(), stop).unwrap_err();
        let (_, told) = run(preferring(broken.path(), &[]).unwrap(), Stop::Never).unwrap();
        // What is known of the reference is not computed again: held out at once, or both.
        assert_eq!(told, if stop == Stop::Reference { 2 } else { 0 });
        assert!(files(whole.path(), STEPS) == files(broken.path(), STEPS));
        assert_eq!(timeless(whole.path()), timeless(broken.path()));
    }
}

#[test]
fn where_the_reference_comes_from_and_how_pairs_share_rows_changes_rounding_only() {
    let one = tempfile::tempdir().unwrap();
    run(preferring(one.path(), &[]).unwrap(), Stop::Never).unwrap();
    let (expected, _) = records(one.path());
    for overrides in [
        ["stage.apo.reference=online"],
        ["stage.apo.row_length=96"],
        ["stage.apo.recompute=layers"],
    ] {
        let other = tempfile::tempdir().unwrap();
        run(preferring(other.path(), &overrides).unwrap(), Stop::Never).unwrap();
        let (found, _) = records(other.path());
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a.loss - b.loss).abs() < 1e-5, "{overrides:?}: {a:?} {b:?}");
            assert!(
                (a.grad_norm / b.grad_norm - 1.0).abs() < 1e-3,
                "{overrides:?}: {a:?} {b:?}"
            );
        }
    }
}

#[test]
fn adapters_learn_too() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = [
        "stage.apo.until=20 steps",
        "stage.apo.lora={ rank = 8, alpha = 16 }",
        "stage.apo.optimizer.learning_rate=2e-2",
        "stage.apo.loss.beta=0.5",
    ];
    run(preferring(folder.path(), &overrides).unwrap(), Stop::Never).unwrap();
    let (steps, _) = records(folder.path());
    assert!((steps[0].loss - 1.0).abs() < 1e-6, "{:?}", steps[0]);
    assert!(steps[19].loss < 0.95, "{:?}", steps[19]);
    let last = folder.path().join("out/apo").join(checkpoint::folder_name(20));
    assert!(last.join("adapter/adapter_model.safetensors").is_file());
}

#[test]
fn pairs_that_teach_nothing_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = preferring(folder.path(), &["data.held_out=0%"]).unwrap();
    let long = "a ".repeat(200);
    let mut rows: Vec<Value> = (0..9).map(|i| pair(&format!("{i}?"), "yes", "no")).collect();
    rows.push(pair("equal?", "yes", "yes"));
    rows.push(pair("nothing?", "yes", ""));
    rows.push(pair("spaces?", " \n", "no"));
    rows.push(pair("long?", &long, "no"));
    write_rows(&folder.path().join("pairs.jsonl"), &rows);
    let (notes, _) = run(recipe, Stop::Never).unwrap();
    let note = notes.iter().find(|note| note.starts_with("numbers: ")).unwrap();
    assert!(
        note.starts_with(
            "numbers: 13 of 13 rows, 1 that are too long left out, 1 whose answers are equal left out, \
             2 with an empty answer left out, 0 held out"
        ),
        "{note}"
    );
}

/// The tiny recipe's pretrained checkpoint with one weight that is NaN, in `folder/broken`.
fn broken(folder: &Path) {
    copied(folder, "broken");
    damage(&folder.join("broken"));
}

/// The tiny recipe's pretrained checkpoint in a folder of its own, without a manifest.
fn copied(folder: &Path, name: &str) {
    let whole = tempfile::tempdir().unwrap();
    let recipe = recipe(whole.path(), "flex", &[]);
    run(recipe, Stop::Never).unwrap();
    let last = whole
        .path()
        .join("out/pretrain")
        .join(checkpoint::folder_name(support::STEPS));
    fs::create_dir(folder.join(name)).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(last.join(file), folder.join(name).join(file)).unwrap();
    }
}

#[test]
fn a_stage_resumes_only_with_the_reference_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    copied(folder.path(), "other");
    let recipe = || preferring(folder.path(), &["stage.apo.reference_from=./other"]).unwrap();
    run(recipe(), Stop::Step(3)).unwrap_err();
    damage(&folder.path().join("other"));
    let error = run(recipe(), Stop::Never).unwrap_err().to_string();
    assert!(
        error.contains("cannot resume after step 3: \"reference weights\" changed"),
        "{error}"
    );
}

#[test]
fn a_reference_with_a_nan_is_refused() {
    for kept in ["cached", "online"] {
        let folder = tempfile::tempdir().unwrap();
        broken(folder.path());
        let kept = format!("stage.apo.reference={kept}");
        let overrides = ["stage.apo.reference_from=./broken", &kept, "data.held_out=0%"];
        let refused = run(preferring(folder.path(), &overrides).unwrap(), Stop::Never).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("log-probability of an answer is NaN") && said.contains("reference_from"),
            "{kept}: {said}"
        );
    }
}

#[test]
fn a_model_with_a_nan_is_told_of_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    broken(folder.path());
    let overrides = ["stage.apo.from=./broken", "stage.apo.reference_from=pretrain"];
    let _ = run(preferring(folder.path(), &overrides).unwrap(), Stop::Never);
    // What is no number is read back as what it is, for each of the three measures.
    let (steps, measured) = records(folder.path());
    let start: Vec<_> = measured.iter().filter(|record| record.phase == "start").collect();
    assert_eq!(start.len(), 3);
    assert!(start.iter().all(|record| record.value.is_nan()), "{start:?}");
    assert!(
        steps.iter().all(|step| step.loss.is_nan() && !step.updated),
        "{steps:?}"
    );
    let incidents = read_incidents(&folder.path().join("out/apo")).unwrap();
    let told = |name: &str| {
        incidents.iter().any(|incident| {
            matches!(&incident.kind, IncidentKind::NotFinite { figure } if *figure == format!("{name} is NaN"))
        })
    };
    for name in ["loss of pairs", "reward margin", "preference accuracy"] {
        assert!(told(name), "{name} of {incidents:?}");
    }
}

#[test]
fn what_cannot_be_trained_on_is_refused_by_name() {
    let refused = |overrides: &[&str], change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        match preferring(folder.path(), overrides) {
            Err(error) => error.to_string(),
            Ok(recipe) => {
                change(folder.path());
                run(recipe, Stop::Never).unwrap_err().to_string()
            }
        }
    };
    let rows =
        |row: Value| move |folder: &Path| write_rows(&folder.join("pairs.jsonl"), std::slice::from_ref(&row));
    let nothing = |_: &Path| {};
    let other_prompts = json!({
        "chosen": [say("user", "a?"), say("assistant", "yes")],
        "rejected": [say("user", "b?"), say("assistant", "no")],
    });
    let vocabulary = |folder: &Path| {
        let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/model/a");
        fs::create_dir(folder.join("other")).unwrap();
        for name in ["config.json", "model.safetensors"] {
            fs::copy(other.join(name), folder.join("other").join(name)).unwrap();
        }
    };
    let long = rows(pair("long?", &"a ".repeat(200), "no"));
    for (message, says) in [
        (
            refused(&[], &rows(other_prompts)),
            "pairs.jsonl`: the row has two answers that begin with different messages",
        ),
        (refused(&[], &rows(json!({"chosen": "a"}))), "has no `rejected`"),
        (
            refused(&["stage.apo.too_long=error"], &long),
            "sequence_length is 48; raise it",
        ),
        (
            refused(&["stage.apo.reference_from=./other"], &vocabulary),
            "has a vocabulary of 512, the model one of 320",
        ),
        (
            refused(&["stage.apo.reference_from=sft"], &nothing),
            "reference_from",
        ),
        (
            refused(&["stage.apo.row_length=64"], &nothing),
            "write 2 × sequence_length = 96 or more",
        ),
        (
            refused(&["stage.apo.until=1M"], &nothing),
            "the lengths of pairs differ",
        ),
        (
            refused(&["stage.apo.global_batch=8 sequences"], &nothing),
            "32 pairs",
        ),
        (
            refused(&["stage.apo.loss.beta=0.0"], &nothing),
            "stage.apo.loss.beta",
        ),
        (
            refused(&["stage.apo.loss.label_smoothing=0.5"], &nothing),
            "below 0.5",
        ),
        (refused(&["stage.apo.loss.kind=dpo"], &nothing), "apo-zero"),
        (
            refused(&["stage.apo.template=checkpoint"], &nothing),
            "the checkpoint has no chat template",
        ),
    ] {
        assert!(message.contains(says), "{message}\ndoes not say\n{says}");
    }
}

#[test]
fn pairs_that_teach_nothing_are_no_steps_and_what_is_not_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = "stage.apo.data=[{ name = \"numbers\", paths = [\"pairs.jsonl\"] }]";
    let run_on = |rows: &[Value]| {
        let recipe = preferring(folder.path(), &[data]).unwrap();
        write_rows(&folder.path().join("pairs.jsonl"), rows);
        run(recipe, Stop::Never).unwrap_err().to_string()
    };
    let long = "Please read this first. ".repeat(12);
    let error = run_on(&[
        pair("a", "", "no"),
        pair("b", "yes", " "),
        pair(&long, "yes", "no"),
    ]);
    for words in [
        "nothing is left to train on",
        "2 with an empty answer",
        "1 that are too long",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!folder.path().join("out/apo/metrics.jsonl").exists());

    let mut offered = pair("a", "yes", "no");
    offered["tools"] = json!([{"type": "function", "function": {"name": "add"}}]);
    let error = run_on(&[pair("a", "yes", "no"), offered]);
    for words in ["line 2 of", "does not write tools at `tools[0].function.name`"] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn pairs_of_a_file_end_the_stage_where_their_loss_no_longer_falls() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = [
        "stage.apo.until=40 steps",
        "stage.apo.optimizer.learning_rate=1e-2",
        "stage.apo.checkpoint={ keep = 1 }",
        "stage.apo.loss.beta=0.5",
        "stage.apo.validation={ paths = [\"dev.jsonl\"], every = \"2 steps\", best = \"keep\", stop_early = { patience = 2 } }",
    ];
    // What is preferred there is what is not in training.
    let other: Vec<Value> = (0..12)
        .map(|i| pair(&format!("Is {i} a number?"), "no", "yes"))
        .collect();
    let recipe = || {
        let recipe = preferring(folder.path(), &overrides).unwrap();
        write_rows(&folder.path().join("dev.jsonl"), &other);
        recipe
    };
    run(recipe(), Stop::Step(3)).unwrap_err();
    run(recipe(), Stop::Never).unwrap();
    let (steps, measured) = records(folder.path());
    let losses: Vec<(u64, f64)> = measured
        .iter()
        .filter(|record| record.name == "loss of pairs")
        .map(|record| (record.step, record.value))
        .collect();
    assert!(measured.iter().all(|record| record.items == 12));
    // It only rises: the first is the best, and two more are waited for.
    let measured: Vec<u64> = losses.iter().map(|(step, _)| *step).collect();
    assert_eq!(measured, [0, 2, 4, 6], "{losses:?}");
    assert_eq!(steps.len(), 6);
    let there = checkpoint::list(&folder.path().join("out/apo")).unwrap();
    let there: Vec<u64> = there.into_iter().map(|(step, _)| step).collect();
    assert_eq!(there, [2, 6]);
}

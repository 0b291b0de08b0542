//! Whose folder it is: what another recipe may go on with, and what it may not.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use smollm3_engine::{EngineError, Run, checkpoint};
use smollm3_files::locked_file::open_locked;
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{Listeners, Metrics};
use support::{STEPS, recipe};

/// A stage on the weights of `pretrain`, with a source of its own.
const SECOND: &str = r#"
[source.third]
category = "math"
kind = "arithmetic"
documents = 50
seed = 3

[[stage]]
name = "second"
kind = "pretrain"
from = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "constant" }
[[stage.phase]]
name = "only"
until = "2 steps"
mixture = { sources = { first = 1, third = 1 } }
"#;

/// The tokenizer is trained on two sources, whatever others there are.
const LISTED: &str = "tokenizer.train.sources=[\"first\", \"second\"]";

/// The tiny recipe with `more` behind it.
fn with(folder: &Path, more: &str, overrides: &[&str]) -> Recipe {
    recipe(folder, "flex", &[]);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + more).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::load(folder, &overrides).unwrap()
}

/// Opens the run and trains the stages of these numbers.
fn train(recipe: Recipe, stages: std::ops::Range<usize>) -> smollm3_engine::Result<()> {
    let mut listener = Metrics::default();
    let run = Run::open(recipe, &mut listener)?;
    for stage in &run.recipe.stages[stages] {
        pretrain(&run, stage, &AtomicBool::new(false), &mut listener)?;
    }
    Ok(())
}

/// Contents and times of all files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => {
                let changed = fs::metadata(&path).unwrap().modified().unwrap();
                found.insert(path.clone(), (fs::read(&path).unwrap(), changed));
            }
        }
    }
    found
}

fn refused(outcome: smollm3_engine::Result<()>) -> String {
    let error = outcome.unwrap_err();
    assert!(matches!(error, EngineError::OtherRecipe { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_run_that_failed_before_its_first_step_lets_the_mended_recipe_in() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let with = |overrides: &[&str]| with(folder.path(), "", overrides);
    // A larger vocabulary than the model's.
    assert!(train(with(&["tokenizer.train.vocab_size=400"]), 0..1).is_err());
    let damaged = fs::read_to_string(out.join("recipe.json")).unwrap();
    let stage = out.join("pretrain");
    fs::create_dir(&stage).unwrap();
    fs::write(stage.join("incidents.jsonl"), "{}\n").unwrap();

    train(with(&[]), 0..1).unwrap();
    let whole = tempfile::tempdir().unwrap();
    train(recipe(whole.path(), "flex", &[]), 0..1).unwrap();
    let last = |out: &Path| -> Vec<Vec<u8>> {
        let found = files(&out.join("pretrain").join(checkpoint::folder_name(STEPS)));
        found.into_values().map(|(bytes, _)| bytes).collect()
    };
    assert!(
        last(&out) == last(&whole.path().join("out")),
        "the same bits as in a new folder"
    );
    assert_ne!(fs::read_to_string(out.join("recipe.json")).unwrap(), damaged);
    // What the other recipe told of its steps is gone with it.
    assert_eq!(fs::read_to_string(stage.join("incidents.jsonl")).unwrap(), "");
    // Now something has been trained.
    let text = refused(train(with(&["tokenizer.train.vocab_size=300"]), 0..1));
    assert!(
        text.contains("tokenizer.train.vocab_size: 300 here, 320 there"),
        "{text}"
    );
}

#[test]
fn tokens_are_used_again_only_where_they_would_be_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("out/data/first/train");
    let open = |overrides: &[&str]| {
        Run::open(
            recipe(folder.path(), "flex", overrides),
            &mut Listeners::default(),
        )
    };
    let run = open(&[]).unwrap();
    let fingerprint = run.data.stores["first"].fingerprint.clone();
    drop(run);
    let before = files(&data);
    // Another learning rate, the same tokens.
    let run = open(&["stage.pretrain.optimizer.learning_rate=0.5"]).unwrap();
    assert_eq!(run.data.stores["first"].fingerprint, fingerprint);
    drop(run);
    assert_eq!(files(&data), before);
    // Another tokenizer, other tokens.
    let run = open(&["tokenizer.train.vocab_size=300"]).unwrap();
    assert_eq!(run.data.tokenizer.info().vocab_size, 300);
    assert_ne!(run.data.stores["first"].fingerprint, fingerprint);
}

#[test]
fn a_stage_can_be_appended_and_mended_until_it_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    train(with(folder.path(), "", &[LISTED]), 0..1).unwrap();
    let before = files(&out.join("pretrain"));
    let tokenizer = files(&out.join("tokenizer"));

    // Appended, and mended before it has been trained.
    let appended = |overrides: &[&str]| {
        let overrides: Vec<&str> = [LISTED].iter().chain(overrides).copied().collect();
        with(folder.path(), SECOND, &overrides)
    };
    let run = Run::open(
        appended(&["stage.second.optimizer.learning_rate=0.5"]),
        &mut Listeners::default(),
    );
    assert_eq!(
        run.as_ref()
            .unwrap()
            .finished(&run.as_ref().unwrap().recipe.stages[0])
            .unwrap(),
        Some(STEPS)
    );
    drop(run);
    train(appended(&[]), 1..2).unwrap();
    assert_eq!(files(&out.join("pretrain")), before);
    assert_eq!(files(&out.join("tokenizer")), tokenizer);
    assert!(out.join("second").join(checkpoint::folder_name(2)).is_dir());
    // The questions that are asked of checkpoints change nothing in them.
    let asks = "evaluation.held_out={ rows = 2, sequence_length = 64 }";
    train(appended(&[asks]), 0..0).unwrap();

    // What has been trained is another's from now on, the source of its own included.
    for (change, key) in [
        (
            "stage.second.optimizer.learning_rate=0.5",
            "stage.second.optimizer.learning_rate",
        ),
        (
            "stage.pretrain.optimizer.learning_rate=0.5",
            "stage.pretrain.optimizer.learning_rate",
        ),
        ("source.third.seed=4", "source.third.seed"),
        ("run.seed=6", "run.seed"),
    ] {
        let text = refused(train(appended(&[change]), 0..0));
        assert!(text.contains(key), "{text}");
    }
    // Neither can a stage be taken away.
    let text = refused(train(with(folder.path(), "", &[LISTED]), 0..0));
    assert!(
        text.contains("stage.second.from.stage: (absent) here, \"pretrain\" there"),
        "{text}"
    );
}

#[test]
fn a_stage_resumes_when_a_source_changes_that_it_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let with = |overrides: &[&str]| with(folder.path(), SECOND, &[&[LISTED], overrides].concat());
    train(with(&[]), 0..1).unwrap();
    let out = folder.path().join("out");
    let last = out.join("pretrain").join(checkpoint::folder_name(STEPS));
    fs::remove_dir_all(&last).unwrap();
    train(with(&["source.third.seed=4"]), 0..1).unwrap();
    assert!(last.is_dir());
}

/// A tokenizer that is trained on all sources is another one with a source more.
#[test]
fn a_source_more_is_refused_where_the_tokenizer_depends_on_all() {
    let folder = tempfile::tempdir().unwrap();
    train(with(folder.path(), "", &[]), 0..1).unwrap();
    let text = refused(train(with(folder.path(), SECOND, &[]), 1..2));
    assert!(
        text.contains("source.third.documents: 50 here, (absent) there"),
        "{text}"
    );
}

#[test]
fn a_folder_that_a_process_works_in_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let open = |overrides: &[&str]| {
        Run::open(
            recipe(folder.path(), "flex", overrides),
            &mut Listeners::default(),
        )
    };
    // Another process has the new folder, but has not written its recipe yet.
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let lock = open_locked(&out.join(".lock")).unwrap();
    let error = open(&[]).err().unwrap();
    assert!(matches!(error, EngineError::Locked { .. }), "{error}");
    assert!(!out.join("recipe.json").exists());
    drop(lock);
    let first = open(&[]).unwrap();
    let other = ["stage.pretrain.optimizer.learning_rate=0.5"];
    let error = open(&other).err().unwrap();
    assert!(matches!(error, EngineError::Locked { .. }), "{error}");
    drop(first);
    open(&other).unwrap();
}

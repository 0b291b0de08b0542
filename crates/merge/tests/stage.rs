//! A merge as a stage of a run.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use smollm3_engine::{Run, checkpoint};
use smollm3_files::FileHashes;
use smollm3_merge::merge_stage;
use smollm3_model::Parameters;
use smollm3_model::hf::Checkpoint;
use smollm3_pretrain::pretrain;
use smollm3_recipe::{Recipe, RecipeError, StageData};
use smollm3_records::{Event, Listener};
use support::{Recorder, recipe};

const STAGES: &str = r#"
[[stage]]
name = "more"
kind = "pretrain"
from = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "constant" }
checkpoint = { every = "1 steps", keep = 3 }
[[stage.phase]]
name = "one"
until = "3 steps"
mixture = { sources = { first = 1 } }

[[stage]]
name = "merged"
kind = "merge"
from = "more"
[[stage.model]]
checkpoint = "more"
weight = 0.9
last = 3
[[stage.model]]
checkpoint = "pretrain"
weight = 0.1
"#;

fn merging(
    folder: &Path,
    overrides: &[&str],
    change: impl Fn(String) -> String,
) -> Result<Recipe, RecipeError> {
    recipe(folder, "flex", &[]);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + &change(STAGES.to_owned())).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::load(folder, &overrides)
}

/// Asks for a stop after a step of the stage `more`.
struct StopAfter<'a>(u64, &'a AtomicBool, Recorder, bool);

impl Listener for StopAfter<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        match event {
            Event::StageStarted { stage, .. } => self.3 = stage.name == "more",
            Event::Step(record) if self.3 && record.step == self.0 => self.1.store(true, Ordering::Relaxed),
            _ => {}
        }
        self.2.on(event)
    }
}

fn run(recipe: Recipe) -> (smollm3_engine::Result<()>, Vec<String>) {
    run_until(recipe, u64::MAX)
}

/// Runs all stages, or until a stop after this step of `more`; returns the notes too.
fn run_until(recipe: Recipe, stop_after: u64) -> (smollm3_engine::Result<()>, Vec<String>) {
    let recorder = Recorder::default();
    let events = std::rc::Rc::clone(&recorder.0);
    let stop = AtomicBool::new(false);
    let mut recorder = StopAfter(stop_after, &stop, recorder, false);
    let run = Run::open(recipe, &mut recorder).unwrap();
    let mut all = || {
        for stage in &run.recipe.stages {
            match &stage.data {
                StageData::Merge(merging) => merge_stage(&run, stage, merging, &stop, &mut recorder)?,
                _ => pretrain(&run, stage, &stop, &mut recorder)?,
            }
        }
        Ok(())
    };
    let done = all();
    let events = events.borrow();
    let notes = events.iter().filter_map(|event| match event {
        Event::Note(text) => Some(text.clone()),
        _ => None,
    });
    (done, notes.collect())
}

fn values(folder: &Path, name: &str) -> Vec<f32> {
    let found = Checkpoint::open(folder).unwrap();
    let (_, shape) = found
        .config
        .parameter_shapes()
        .into_iter()
        .find(|(known, _)| known == name)
        .unwrap();
    found.tensors.parameter(name, &shape).unwrap().iter().collect()
}

#[test]
fn the_newest_checkpoints_are_averaged_and_then_weighed() {
    let folder = tempfile::tempdir().unwrap();
    let (done, notes) = run(merging(folder.path(), &[], |text| text).unwrap());
    done.unwrap();
    assert!(
        notes.iter().any(|note| note.starts_with("merged: merged into")),
        "{notes:?}"
    );
    let out = folder.path().join("out");
    let at = |stage: &str, step: u64| -> PathBuf { out.join(stage).join(checkpoint::folder_name(step)) };
    let name = "model.layers.2.mlp.up_proj.weight";
    let merged = values(&at("merged", 0), name);
    let parents: Vec<Vec<f32>> = [at("more", 1), at("more", 2), at("more", 3), at("pretrain", 6)]
        .iter()
        .map(|folder| values(folder, name))
        .collect();
    for (i, found) in merged.iter().enumerate() {
        let of = |parent: usize| f64::from(parents[parent][i]);
        let expected = 0.3 * (of(0) + of(1) + of(2)) + 0.1 * of(3);
        assert!(
            (f64::from(*found) - expected).abs() < 1e-6 * expected.abs().max(0.01),
            "{found} {expected}"
        );
    }
    // A checkpoint as any other, which says of what it was made.
    let (newest, damaged) =
        checkpoint::newest(&out.join("merged"), &FileHashes::default(), |_| true).unwrap();
    assert!(damaged.is_empty());
    assert_eq!(newest.unwrap().0.data.len(), 4);
    let read = |name: &str| fs::read_to_string(at("merged", 0).join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("merge.json")).unwrap();
    assert_eq!(report["parents"].as_array().unwrap().len(), 4);
    assert!(
        read("README.md").contains("\n# merged\n"),
        "{}",
        read("README.md")
    );
    assert!(at("merged", 0).join("tokenizer.json").is_file());

    // Again: nothing to do. Of other parents: made anew.
    let again = || run(Recipe::load(folder.path(), &[]).unwrap());
    assert!(again().1.iter().any(|note| note == "merged: merged already"));
    let manifest = at("more", 1).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text + "\n").unwrap();
    assert!(
        again()
            .1
            .iter()
            .any(|note| note.starts_with("merged: merged into"))
    );

    // A parent whose weights are damaged is never averaged.
    let parent = at("more", 1).join("model.safetensors");
    let mut bytes = fs::read(&parent).unwrap();
    // The lowest bit of the last number.
    let low = bytes.len() - 4;
    bytes[low] ^= 1;
    fs::write(&parent, bytes).unwrap();
    fs::remove_dir_all(out.join("merged")).unwrap();
    let error = again().0.unwrap_err().to_string();
    let place = at("more", 1).display().to_string();
    assert!(
        error.contains("stage \"merged\"") && error.contains(&place) && error.contains("model.safetensors"),
        "{error}"
    );
    assert!(!at("merged", 0).exists());
}

/// What a stop leaves between two checkpoints is averaged with nothing.
#[test]
fn a_stop_changes_no_bit_of_the_mean() {
    let longer = |text: String| {
        let text = text.replace("until = \"3 steps\"", "until = \"8 steps\"");
        text.replace("every = \"1 steps\", keep = 3", "every = \"2 steps\", keep = 2")
    };
    let merged = |folder: &Path| fs::read(folder.join("out/merged/step-00000000/model.safetensors")).unwrap();
    let whole = tempfile::tempdir().unwrap();
    run(merging(whole.path(), &[], longer).unwrap()).0.unwrap();
    let parents = |folder: &Path| -> Vec<String> {
        let (_, merged) = checkpoint::list(&folder.join("out/merged")).unwrap().remove(0);
        let state = checkpoint::read_state(&merged).unwrap();
        state.data.into_keys().collect()
    };
    let third = "0.3";
    assert_eq!(
        parents(whole.path()),
        [
            format!("0: more/step-00000004 × {third}"),
            format!("1: more/step-00000006 × {third}"),
            format!("2: more/step-00000008 × {third}"),
            "3: pretrain/step-00000006 × 0.1".to_owned(),
        ]
    );
    for at in [5, 6, 7] {
        let broken = tempfile::tempdir().unwrap();
        let recipe = || merging(broken.path(), &[], longer).unwrap();
        run_until(recipe(), at).0.unwrap_err();
        run(recipe()).0.unwrap();
        assert_eq!(
            parents(broken.path()),
            parents(whole.path()),
            "stopped after step {at}"
        );
        assert!(
            merged(broken.path()) == merged(whole.path()),
            "stopped after step {at}"
        );
    }
}

#[test]
fn a_merge_is_known_again_with_equal_parents_and_in_another_place() {
    let folder = tempfile::tempdir().unwrap();
    let twice = |text: String| {
        let parent = "[[stage.model]]\ncheckpoint = \"pretrain\"\nweight = 0.1\n";
        text.replace(parent, &parent.repeat(2))
    };
    let is_known = |overrides: &[&str]| {
        let (done, notes) = run(merging(folder.path(), overrides, twice).unwrap());
        done.unwrap();
        notes.iter().any(|note| note == "merged: merged already")
    };
    assert!(!is_known(&[]));
    assert!(is_known(&[]));
    let moved = folder.path().join("moved");
    fs::rename(folder.path().join("out"), &moved).unwrap();
    assert!(is_known(&[&format!("run.output='{}'", moved.display())]));
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() {
    let refused = |change: &dyn Fn(String) -> String| {
        let folder = tempfile::tempdir().unwrap();
        match merging(folder.path(), &[], change) {
            Err(error) => error.to_string(),
            Ok(recipe) => run(recipe).0.unwrap_err().to_string(),
        }
    };
    for (message, says) in [
        (
            refused(&|text| text.replace("last = 3", "last = 4")),
            "newest 4 checkpoints of \"more\"",
        ),
        (
            refused(&|text| text.replace("last = 3", "last = 0")),
            "write 1 or more of a stage",
        ),
        (
            refused(&|text| text.replace("weight = 0.1", "weight = -0.9")),
            "add up to 0",
        ),
        (
            refused(&|text| text.replace("checkpoint = \"more\"", "checkpoint = \"mor\"")),
            "earlier stage",
        ),
        (
            refused(&|text| text.replace("weight = 0.1", "wieght = 0.1")),
            "weight",
        ),
        (
            refused(&|text| text.split("[[stage.model]]").next().unwrap().to_owned()),
            "nothing to merge",
        ),
        (
            refused(&|text| text.replace("kind = \"merge\"\nfrom = \"more\"", "kind = \"merge\"")),
            "no `from`",
        ),
    ] {
        assert!(message.contains(says), "{message}\ndoes not say\n{says}");
    }
}

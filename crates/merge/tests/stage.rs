//! A merge as a stage of a run.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use smollm3_engine::{Event, Run, checkpoint};
use smollm3_merge::merge_stage;
use smollm3_model::Parameters;
use smollm3_model::hf::Checkpoint;
use smollm3_recipe::{Recipe, RecipeError, StageKind};
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

fn run(recipe: Recipe) -> (smollm3_engine::Result<()>, Vec<String>) {
    let mut recorder = Recorder::default();
    let stop = AtomicBool::new(false);
    let run = Run::open(recipe, &mut recorder).unwrap();
    let mut all = || {
        for stage in &run.recipe.stages {
            match &stage.kind {
                StageKind::Merge(merging) => merge_stage(&run, stage, merging, &stop, &mut recorder)?,
                _ => run.stage(stage, &stop, &mut recorder)?,
            }
        }
        Ok(())
    };
    let done = all();
    let events = recorder.0.borrow();
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
    let (newest, damaged) = checkpoint::newest(&out.join("merged")).unwrap();
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
    let parent = at("more", 1).join("model.safetensors");
    let mut bytes = fs::read(&parent).unwrap();
    // The lowest bit of the last number.
    let low = bytes.len() - 4;
    bytes[low] ^= 1;
    fs::write(&parent, bytes).unwrap();
    assert!(
        again()
            .1
            .iter()
            .any(|note| note.starts_with("merged: merged into"))
    );
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

//! Several ranks learn preferences as one does.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use smollm3_apo::prefer;
use smollm3_collective::{Collective, Threads};
use smollm3_engine::{Run, checkpoint};
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{Listeners, Metrics, Record, read_metrics};
use support::recipe;

const STAGE: &str = r#"
[[stage]]
name = "apo"
kind = "apo"
from = "pretrain"
sequence_length = 48
global_batch = "8 pairs"
row_length = 128
until = "50 steps"
template = "chatml"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
data = [{ name = "numbers", paths = ["pairs.jsonl"] }]
"#;

fn preferring(folder: &Path) -> Recipe {
    recipe(folder, "flex", &[]);
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let pair = |i: u64| -> Value {
        let question = format!("Say {i}.");
        let answer = |number: u64| [say("user", &question), say("assistant", &number.to_string())];
        json!({"prompt": question, "chosen": answer(i), "rejected": answer(i + 1)})
    };
    let pairs: String = (0..100).map(|i| format!("{}\n", pair(i))).collect();
    fs::write(folder.join("pairs.jsonl"), pairs).unwrap();
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + STAGE).unwrap();
    Recipe::load(folder, &[]).unwrap()
}

/// Runs the stages with these numbers on `world` ranks.
fn run(recipe: &Recipe, world: usize, stages: std::ops::Range<usize>) {
    Threads::run(world, Duration::from_secs(120), |rank| {
        let mut listeners = Listeners::default();
        if rank.rank() == 0 {
            listeners = listeners.with(Metrics::default());
        }
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut listeners).unwrap();
        let stop = AtomicBool::new(false);
        for stage in &run.recipe.stages[stages.clone()] {
            match stage.preference() {
                Some(preference) => prefer(&run, stage, preference, &stop, &mut listeners).unwrap(),
                None => pretrain(&run, stage, &stop, &mut listeners).unwrap(),
            }
        }
        // The checkpoint that it starts from is also the reference: rank 0 alone reads it, once.
        let read = run.hashes.files_read();
        match run.ranks.rank() {
            0 if stages == (1..2) => assert_eq!(read, files_of_parent(&run)),
            0 => {}
            _ => assert_eq!(read, 0),
        }
    });
}

fn files_of_parent(run: &Run) -> u64 {
    let found = checkpoint::list(&run.stage_folder("pretrain")).unwrap();
    let manifest = fs::read(found.last().unwrap().1.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["files"].as_object().unwrap().len() as u64
}

/// Loss and what else is recorded of each step.
fn steps(stage: &Path) -> Vec<(f64, BTreeMap<String, f64>)> {
    let records = read_metrics(stage).unwrap().into_iter();
    records
        .filter_map(|record| match record {
            Record::Step(step) => Some((step.loss, step.observed)),
            Record::HeldOut(_) | Record::Measured(_) => None,
        })
        .collect()
}

#[test]
fn any_number_of_ranks_has_the_losses_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = preferring(folder.path());
    let stage = folder.path().join("out/apo");
    run(&recipe, 1, 0..2);
    let expected = steps(&stage);
    assert_eq!(expected.len(), 50);
    for world in [2, 4] {
        fs::remove_dir_all(&stage).unwrap();
        run(&recipe, world, 1..2);
        let found = steps(&stage);
        assert_eq!(found.len(), 50);
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = (found.0 - expected.0).abs() / expected.0;
            assert!(
                off <= 1e-6,
                "{world} ranks, step {step}: {} and {}, off by {off:e}",
                found.0,
                expected.0
            );
            assert_eq!(found.1.len(), 7);
            let log_probs = |observed: &BTreeMap<String, f64>| observed["logps/chosen"];
            assert!((log_probs(&found.1) - log_probs(&expected.1)).abs() < 1e-4);
        }
    }
}

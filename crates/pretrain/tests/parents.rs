//! A checkpoint that a stage starts from is read once to be verified, by rank 0 alone, which tells the others.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;
use smollm3_collective::{Collective, Threads};
use smollm3_engine::{EngineError, Result, Run, checkpoint};
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::Metrics;
use support::{STEPS, recipe};

const NEXT: &str = r#"
[[stage]]
name = "next"
kind = "long-context"
from = "pretrain"
sequence_length = 64
rope_theta = 40000.0
global_batch = "8 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
phase = [{ name = "next", until = "2 steps", mixture = { sources = { first = 1, second = 1 } } }]
"#;

fn two_stages(folder: &Path, state: &str) -> Recipe {
    recipe(folder, "flex", &[]);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    let next = NEXT.replace(
        "optimizer =",
        &format!("optimizer_state = \"{state}\"\noptimizer ="),
    );
    fs::write(&file, text + &next).unwrap();
    Recipe::load(folder, &["stage.pretrain.global_batch=8 sequences".to_owned()]).unwrap()
}

/// Runs a stage on `world` ranks: how many files each has read to hash them, and how it ended.
fn run(recipe: &Recipe, world: usize, stage: usize) -> Vec<(u64, Result<()>)> {
    Threads::run(world, Duration::from_secs(120), |rank| {
        let is_first = rank.rank() == 0;
        let mut metrics = Metrics::default();
        let mut others = smollm3_records::Listeners::default();
        let listener: &mut dyn smollm3_records::Listener = match is_first {
            true => &mut metrics,
            false => &mut others,
        };
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), listener).unwrap();
        let ended = pretrain(&run, &run.recipe.stages[stage], &AtomicBool::new(false), listener);
        (run.hashes.files_read(), ended)
    })
}

fn files(checkpoint: &Path) -> u64 {
    let manifest: Value =
        serde_json::from_slice(&fs::read(checkpoint.join("manifest.json")).unwrap()).unwrap();
    manifest["files"].as_object().unwrap().len() as u64
}

#[test]
fn rank_0_reads_a_parent_once_and_the_others_never() {
    for (state, world) in [("fresh", 2), ("keep", 1), ("keep", 4)] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = two_stages(folder.path(), state);
        for (read, ended) in run(&recipe, world, 0) {
            ended.unwrap();
            assert_eq!(read, 0, "there is nothing to start from");
        }
        let parent = folder
            .path()
            .join("out/pretrain")
            .join(checkpoint::folder_name(STEPS));
        for (rank, (read, ended)) in run(&recipe, world, 1).into_iter().enumerate() {
            ended.unwrap();
            let expected = if rank == 0 { files(&parent) } else { 0 };
            assert_eq!(read, expected, "moments {state}, rank {rank} of {world}");
        }
    }
}

/// It has weights of its own; of its parent's files it reads again what is not weights, and nothing else.
#[test]
fn a_stage_that_goes_on_reads_no_weights_of_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = two_stages(folder.path(), "keep");
    run(&recipe, 1, 0);
    for (_, ended) in run(&recipe, 2, 1) {
        ended.unwrap();
    }
    let parent = folder
        .path()
        .join("out/pretrain")
        .join(checkpoint::folder_name(STEPS));
    for name in ["model.safetensors", "optimizer.safetensors"] {
        assert!(parent.join(name).is_file());
        fs::write(parent.join(name), "short").unwrap();
    }
    for (_, ended) in run(&recipe, 2, 1) {
        ended.unwrap();
    }
    fs::write(parent.join("tokenizer.json"), "{}").unwrap();
    let error = run(&recipe, 1, 1).remove(0).1.unwrap_err().to_string();
    assert!(error.contains("which is damaged: tokenizer.json"), "{error}");
}

#[test]
fn a_parent_that_rank_0_refuses_is_refused_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = two_stages(folder.path(), "fresh");
    run(&recipe, 1, 0);
    for (_, checkpoint) in checkpoint::list(&folder.path().join("out/pretrain")).unwrap() {
        fs::write(checkpoint.join("model.safetensors"), "short").unwrap();
    }
    for (rank, (_, ended)) in run(&recipe, 2, 1).into_iter().enumerate() {
        match (rank, ended.unwrap_err()) {
            (0, error) => assert!(error.to_string().contains("which is damaged"), "{error}"),
            (_, error) => assert!(matches!(error, EngineError::FirstEnded), "{error}"),
        }
    }
}

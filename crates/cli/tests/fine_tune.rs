//! `recipes/fine-tune` on a tiny checkpoint; its adapters are read and merged again.

mod checkpoint;

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{printed, refused};
use serde_json::Value;
use smollm3_model::Parameters;
use smollm3_model::hf::Checkpoint;

fn newest(stage: &Path) -> PathBuf {
    let entries = fs::read_dir(stage).unwrap().map(|entry| entry.unwrap().path());
    let steps = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("step-"));
    steps.max().unwrap()
}

fn weights(folder: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let shapes = checkpoint.config.parameter_shapes();
    let values = shapes.iter().flat_map(|(name, shape)| {
        let data = checkpoint.tensors.parameter(name, shape).unwrap();
        data.iter::<f32>().collect::<Vec<_>>()
    });
    values.collect()
}

#[test]
fn the_recipe_for_fine_tuning_runs_as_it_is_on_a_small_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    checkpoint::write(&here.join("base"), 2_048);
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/fine-tune");
    let base = format!("model.checkpoint={}", here.join("base").display());
    let set = [
        "--set",
        "run.precision=f32",
        "--set",
        "run.backend=flex",
        "--set",
        "run.device=cpu",
        "--set",
        &base,
    ];
    let plan = printed(here, &[&["plan", recipe], set.as_slice()].concat());
    for words in ["rank 16, alpha 32", "the best", "every 2 steps", "memory"] {
        assert!(plan.contains(words), "{words}: {plan}");
    }
    printed(here, &[&["run", recipe], set.as_slice()].concat());
    let run = here.join("runs/fine-tune");
    let record: Value = serde_json::from_slice(&fs::read(run.join("sft/validation.json")).unwrap()).unwrap();
    let best = run.join("sft").join(record["checkpoint"].as_str().unwrap());
    assert!(best.is_dir());
    let apo = newest(&run.join("apo"));

    // Its adapter names the best checkpoint of the stage before as its base, and gives the same model with it.
    let config: Value =
        serde_json::from_slice(&fs::read(apo.join("adapter/adapter_config.json")).unwrap()).unwrap();
    let named = apo
        .join("adapter")
        .join(config["base_model_name_or_path"].as_str().unwrap());
    assert_eq!(fs::canonicalize(named).unwrap(), fs::canonicalize(&best).unwrap());
    let adapter = apo.join("adapter");
    let adapter = adapter.to_str().unwrap();
    // What a killed export left.
    let draft = here.join("..merged.merged.part");
    fs::create_dir(&draft).unwrap();
    printed(here, &["export", adapter, "--out", "merged", "--dtype", "f32"]);
    let (ours, merged) = (weights(&apo), weights(&here.join("merged")));
    let off = ours
        .iter()
        .zip(&merged)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(ours.len() == merged.len() && off < 1e-6, "{off}");
    assert!(!here.join("merged/adapter_config.json").exists());
    let left: Vec<_> = fs::read_dir(here)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_str().unwrap().contains(".merged")),
        "{left:?}"
    );
    let error = refused(here, &["generate", adapter, "--prompt", "What"]);
    assert!(
        error.contains("is an adapter (PEFT)") && error.contains("smollm3 export"),
        "{error}"
    );

    // The plan uses what `bench step` measured.
    assert!(
        plan.contains("no time yet: the steps of sft, apo are not known"),
        "{plan}"
    );
    let config = here.join("base/config.json");
    let config = config.to_str().unwrap();
    let bench = [
        "bench",
        "step",
        "--config",
        config,
        "--backend",
        "flex",
        "--steps",
        "1",
        "--recompute",
    ];
    printed(
        here,
        &[
            bench.as_slice(),
            &["--sequence-length", "256", "--micro-batch", "1"],
        ]
        .concat(),
    );
    assert_eq!(
        fs::read_to_string(here.join("cache/smollm3/rates.jsonl"))
            .unwrap()
            .lines()
            .count(),
        1
    );
    let plan = printed(here, &[&["plan", recipe], set.as_slice()].concat());
    assert!(
        plan.contains("minutes at the rate that `smollm3 bench step` measured here"),
        "{plan}"
    );
    assert!(
        plan.contains("tokens/s with all weights trained, rows of 256: measured"),
        "{plan}"
    );
    // Not for a stage that keeps what it computes.
    let none = [
        "--set",
        "stage.sft.recompute=none",
        "--set",
        "stage.apo.recompute=none",
    ];
    let plan = printed(here, &[&["plan", recipe], set.as_slice(), &none].concat());
    assert!(plan.contains("no time:"), "{plan}");
}

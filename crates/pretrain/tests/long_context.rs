//! Stages that lengthen the rows and raise theta, one after the other.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_engine::{Result, Run, checkpoint};
use smollm3_model::ModelConfig;
use smollm3_model::hf::Checkpoint;
use smollm3_pretrain::pretrain;
use smollm3_recipe::{Recipe, Spelling};
use smollm3_records::{Event, Listener, Record, read_metrics, read_stage};
use support::{Recorder, recipe};

const STAGES: &str = r#"
[[stage]]
name = "twice"
kind = "long-context"
from = "pretrain"
sequence_length = 128
rope_theta = 40000.0
global_batch = "2 sequences"
micro_batch = "1 sequence"
recompute = "layers"
optimizer_state = "keep"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
checkpoint = { every = "1 steps" }
phase = [{ name = "twice", until = "3 steps", mixture = { sources = { first = 1, second = 1 } } }]

[[stage]]
name = "four-times"
kind = "long-context"
from = "twice"
sequence_length = 256
rope_theta = 160000.0
global_batch = "1 sequence"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
phase = [{ name = "four", until = "2 steps", mixture = { sources = { first = 1, second = 1 } } }]
"#;

/// The tiny recipe with two long-context stages after its pretraining.
fn extended(folder: &Path) -> Recipe {
    recipe(folder, "flex", &[]);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + STAGES).unwrap();
    Recipe::load(folder, &[]).unwrap()
}

/// Asks for a stop after a step of a stage.
struct StopAfter<'a>(&'a str, u64, &'a AtomicBool, String);

impl Listener for StopAfter<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        match event {
            Event::StageStarted { stage, .. } => self.3.clone_from(&stage.name),
            Event::Step(record) if self.3 == self.0 && record.step == self.1 => {
                self.2.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }
}

fn run(folder: &Path, stage: &str, step: u64) -> Result<()> {
    let stop = AtomicBool::new(false);
    let mut listener = StopAfter(stage, step, &stop, String::new());
    let mut metrics = smollm3_records::Metrics::default();
    let mut both = smollm3_records::Listeners::default();
    let run = Run::open(extended(folder), &mut both)?;
    struct Two<'a, 'b>(&'a mut dyn Listener, &'b mut dyn Listener);
    impl Listener for Two<'_, '_> {
        fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
            self.0.on(event)?;
            self.1.on(event)
        }
    }
    for stage in &run.recipe.stages {
        pretrain(&run, stage, &stop, &mut Two(&mut metrics, &mut listener))?;
    }
    Ok(())
}

fn files(folder: &Path, stage: &str, step: u64) -> BTreeMap<String, Vec<u8>> {
    let last = folder.join("out").join(stage).join(checkpoint::folder_name(step));
    fs::read_dir(last)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn each_stage_takes_up_the_one_before_under_a_longer_row_and_a_larger_theta() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "", 0).unwrap();
    let config = |stage: &str, step: u64| {
        let path = folder
            .path()
            .join("out")
            .join(stage)
            .join(checkpoint::folder_name(step));
        // Opening checks that names and shapes are those of the config.
        Checkpoint::open(&path).unwrap();
        ModelConfig::from_hf_file(&path.join("config.json")).unwrap()
    };
    let settings = |config: ModelConfig| (config.rope_theta, config.max_position_embeddings);
    assert_eq!(settings(config("pretrain", 6)), (10_000.0, 64));
    assert_eq!(settings(config("twice", 3)), (40_000.0, 128));
    assert_eq!(settings(config("four-times", 2)), (160_000.0, 256));

    // Moments kept: their count goes on. Fresh: it begins again.
    let updates = |stage: &str, step: u64| {
        let text = files(folder.path(), stage, step).remove("state.json").unwrap();
        let state: checkpoint::Progress = serde_json::from_slice(&text).unwrap();
        state.updates
    };
    assert_eq!((updates("twice", 3), updates("four-times", 2)), (6 + 3, 2));

    // A trained model under a new theta is still far better than chance.
    let out = folder.path().join("out");
    for (stage, theta, rows) in [("twice", 40_000.0, 128), ("four-times", 160_000.0, 256)] {
        let info = read_stage(&out.join(stage)).unwrap().unwrap();
        assert_eq!((info.rope_theta, info.sequence_length), (theta, rows));
        let first = read_metrics(&out.join(stage))
            .unwrap()
            .into_iter()
            .find_map(|record| match record {
                Record::Step(step) => Some(step.loss),
                Record::HeldOut(_) | Record::Measured(_) => None,
            });
        assert!(first.unwrap() < 320f64.ln() - 0.5, "{stage}: {first:?}");
    }
}

#[test]
fn a_stop_inside_a_long_stage_changes_no_bit() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), "", 0).unwrap();
    let broken = tempfile::tempdir().unwrap();
    run(broken.path(), "twice", 2).unwrap_err();
    run(broken.path(), "", 0).unwrap();
    for (stage, step) in [("twice", 3), ("four-times", 2)] {
        assert!(
            files(whole.path(), stage, step) == files(broken.path(), stage, step),
            "{stage}"
        );
    }
}

#[test]
fn a_pretrain_stage_cannot_be_longer_than_the_context_before_it() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path(), "flex", &[]);
    let file = folder.path().join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    let longer = STAGES.replace("rope_theta = 160000.0\n", "").replace(
        "kind = \"long-context\"\nfrom = \"twice\"",
        "kind = \"pretrain\"\nfrom = \"twice\"",
    );
    fs::write(&file, text + &longer).unwrap();
    let refused = Run::open(
        Recipe::load(folder.path(), &[]).unwrap(),
        &mut smollm3_records::Listeners::default(),
    );
    let message = refused.err().unwrap().to_string();
    for part in ["four-times", "256", "128", "long-context"] {
        assert!(message.contains(part), "{message}");
    }
}

/// The tiny recipe started from a checkpoint whose architecture was changed; what opening it says.
fn refusal(change: impl Fn(&mut ModelConfig)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = recipe(folder.path(), "flex", &[]).architecture().unwrap();
    change(&mut config);
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let json = config.to_hf_json(Spelling::default(), "float32");
    fs::write(folder.path().join("checkpoint/config.json"), json.to_string()).unwrap();
    let recipe = recipe(folder.path(), "flex", &["stage.pretrain.from=./checkpoint"]);
    match Run::open(recipe, &mut Recorder::default()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_checkpoint_must_have_the_rows_positions_and_the_tokenizers_entries() {
    assert_eq!(refusal(|_| {}), "");
    let message = refusal(|config| config.max_position_embeddings = 32);
    assert!(
        message.contains("\"pretrain\": sequence_length = 64 is longer than")
            && message.contains("max_position_embeddings = 32; shorten it"),
        "{message}"
    );
    let message = refusal(|config| config.vocab_size = 300);
    assert!(
        message.contains("\"pretrain\": the checkpoint it starts from has vocab_size = 300")
            && message.contains("tokenizer has 320 entries"),
        "{message}"
    );
}

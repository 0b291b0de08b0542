//! The example of a new kind of stage, run to its end.

#[path = "../examples/json_lines.rs"]
#[allow(dead_code)]
mod json_lines;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use json_lines::train_json_lines;
use smollm3_engine::{Result, Run, checkpoint};
use smollm3_records::{Event, Listener, StepRecord};
use support::{STEPS, recipe};

/// Documents of 21 tokens, of which the last ten are learned; three are a row of 64 and four rows a step.
const DOCUMENTS: u32 = 24;

fn lines() -> String {
    let line = |document: u32| {
        let ids: Vec<u32> = (0..21).map(|place| 20 + (document + place) % 30).collect();
        let mask: Vec<u8> = (0..21).map(|place| u8::from(place > 10)).collect();
        format!("{}\n", serde_json::json!({ "ids": ids, "mask": mask }))
    };
    (0..DOCUMENTS).map(line).collect()
}

/// Keeps the steps, and asks for a stop after one of them.
struct Watch {
    steps: Vec<StepRecord>,
    stop_after: u64,
    stop: Arc<AtomicBool>,
}

impl Listener for Watch {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        if let Event::Step(record) = event {
            self.stop
                .fetch_or(record.step == self.stop_after, Ordering::Relaxed);
            self.steps.push(record.clone());
        }
        Ok(())
    }
}

fn train(folder: &Path, lines: &str, stop_after: u64) -> (Result<()>, Vec<StepRecord>) {
    let rows = folder.join("rows.jsonl");
    let recipe = recipe(folder, "flex", &["stage.pretrain.checkpoint.every=100 steps"]);
    fs::write(&rows, lines).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut watch = Watch {
        steps: Vec::new(),
        stop_after,
        stop: Arc::clone(&stop),
    };
    let run = Run::open(recipe, &mut watch).unwrap();
    let ended = train_json_lines(&run, &run.recipe.stages[0], &rows, &stop, &mut watch);
    (ended, watch.steps)
}

/// The weights and moments of the last checkpoint.
fn bits(folder: &Path) -> [Vec<u8>; 2] {
    let (progress, checkpoint) = checkpoint::last(&folder.join("out/pretrain")).unwrap().unwrap();
    assert_eq!(progress.step, STEPS);
    ["model.safetensors", "optimizer.safetensors"].map(|file| fs::read(checkpoint.join(file)).unwrap())
}

#[test]
fn it_learns_what_the_mask_says_and_goes_on_where_it_was_stopped() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ended, steps) = train(whole.path(), &lines(), 0);
    ended.unwrap();
    assert_eq!(steps.len(), STEPS as usize);
    for step in &steps {
        // Four rows of three documents of ten learned tokens.
        let source = &step.sources["json-lines"];
        assert_eq!((source.rows, source.targets), (4, 120));
    }
    assert!(steps[STEPS as usize - 1].loss < 0.8 * steps[0].loss, "{steps:?}");

    let (ended, steps) = train(stopped.path(), &lines(), 3);
    assert!(ended.unwrap_err().is_interrupted());
    assert_eq!(steps.len(), 3);
    let (ended, steps) = train(stopped.path(), &lines(), 0);
    ended.unwrap();
    assert_eq!(steps.len(), STEPS as usize - 3);
    assert!(bits(whole.path()) == bits(stopped.path()));
}

#[test]
fn lines_that_cannot_be_trained_on_are_named() {
    for (lines, expected) in [
        ("", "no line"),
        (
            "{\"ids\": [1, 2], \"mask\": [1]}\n",
            "line 1: it needs ids below 320, and one mask an id",
        ),
        (
            "{\"ids\": [1], \"mask\": [1]}\n{\"ids\": [320], \"mask\": [1]}\n",
            "line 2",
        ),
        ("{\"ids\": [], \"mask\": []}\n", "line 1"),
        ("{\"ids\": 3}\n", "line 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let message = train(folder.path(), lines, 0).0.unwrap_err().to_string();
        assert!(
            message.contains("rows.jsonl") && message.contains(expected),
            "{message}"
        );
    }
}

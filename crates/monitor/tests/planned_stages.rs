//! The stages of a run's recipe, those that have not begun included.

use std::fs;
use std::path::Path;

use smollm3_monitor::status::status;
use smollm3_monitor::{RunFiles, closing_table};

const STAGE: &str = r#"{"name": "v1.0", "steps": 9, "tokens_per_step": 1, "sequence_length": 1, "rope_theta": 1e4,
    "flops_per_token": 1.0, "peak_flops": null, "sources": [], "phases": []}"#;

/// The folder of a run with this recipe, whose first stage has started.
fn run(recipe: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("v1.0")).unwrap();
    fs::write(folder.path().join("v1.0/stage.json"), STAGE).unwrap();
    fs::write(folder.path().join("recipe.json"), recipe).unwrap();
    folder
}

fn read(folder: &Path) -> RunFiles {
    RunFiles::read(folder).unwrap()
}

#[test]
fn stages_are_read_and_follow_those_that_they_need() {
    let folder = run(r#"{
        "run.seed": 1,
        "stage.a-merged.from.stage": "sft",
        "stage.a-merged.kind": "merge",
        "stage.a-merged.model.0.checkpoint.stage": "sft",
        "stage.a-merged.model.0.weight": 0.6,
        "stage.a-merged.model.1.checkpoint.folder": "./base",
        "stage.a-merged.model.1.weight": 0.2,
        "stage.a-merged.model.10.checkpoint.hub": "owner/name",
        "stage.a-merged.model.10.weight": 0.1,
        "stage.a-merged.model.2.checkpoint.stage": "v1.0",
        "stage.a-merged.model.2.weight": 0.1,
        "stage.sft.from.stage": "v1.0",
        "stage.sft.kind": "sft",
        "stage.sft.loss.kind": "other",
        "stage.sft.phase.one.until": "9 steps",
        "stage.sft.phase.two.until": "1B tokens",
        "stage.\"v1.0\".from": "random",
        "stage.\"v1.0\".kind": "pretrain",
        "stage.\"v1.0\".phase.one.until": "9 steps",
        "stage.\"v1.0\".phase.two.until": "12 steps"
    }"#);
    let found = read(folder.path()).plan;
    let names: Vec<&str> = found.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["v1.0", "sft", "a-merged"]);
    assert_eq!((found[0].steps, found[1].steps), (Some(12), None));
    assert_eq!(found[1].from.as_deref(), Some("v1.0"));
    let merges = [("sft", 0.6), ("./base", 0.2), ("v1.0", 0.1), ("owner/name", 0.1)];
    assert_eq!(
        found[2].merges,
        merges.map(|(name, weight)| (name.to_owned(), weight))
    );
}

#[test]
fn the_best_checkpoint_stands_for_a_stage_that_says_so() {
    for best in ["load", "keep"] {
        let folder = run(&format!(
            r#"{{"stage.\"v1.0\".kind": "sft", "stage.\"v1.0\".validation.best": "{best}"}}"#
        ));
        let stage = folder.path().join("v1.0");
        let mut losses = String::new();
        for (step, loss) in [(2, 1.5), (4, 2.5)] {
            let checkpoint = stage.join(format!("step-{step:08}"));
            fs::create_dir(&checkpoint).unwrap();
            let state = format!(
                r#"{{"stage": "v1.0", "step": {step}, "steps": 9, "tokens": 1, "updates": 1, "recipe": "f1", "data": {{}},
                    "version": "0.1.0", "validation": {{"best": {{"step": 2, "loss": 1.5}}, "without_gain": 1}}}}"#
            );
            fs::write(checkpoint.join("state.json"), state).unwrap();
            losses += &format!(
                "{{\"kind\": \"held-out\", \"step\": {step}, \"phase\": \"a\", \"category\": \"chats\", \
                 \"nats_per_token\": {loss}, \"bits_per_byte\": 1.0, \"tokens\": 9}}\n"
            );
        }
        fs::write(stage.join("metrics.jsonl"), losses).unwrap();
        let found = read(folder.path());
        let (loads, table) = (best == "load", closing_table(&found));
        assert_eq!(table.contains("1.500"), loads, "{table}");
        assert_eq!(table.contains("2.500"), !loads, "{table}");
        let text = status(&found);
        let line = format!(
            "best, which stands for the stage: {}",
            stage.join("step-00000002").display()
        );
        assert_eq!(text.contains(&line), loads, "{text}");
    }
}

#[test]
fn a_folder_without_a_recipe_has_no_planned_stages() {
    let folder = run("{}");
    fs::remove_file(folder.path().join("recipe.json")).unwrap();
    assert_eq!(read(folder.path()).plan, []);
}

#[test]
fn a_damaged_recipe_is_named() {
    let folder = run("[");
    let error = RunFiles::read(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("recipe.json: the recorded recipe is not readable"),
        "{error}"
    );
}

#[test]
fn a_circle_ends() {
    let folder = run(r#"{
        "stage.a.kind": "sft", "stage.a.from.stage": "b",
        "stage.b.kind": "sft", "stage.b.from.stage": "a"
    }"#);
    assert_eq!(read(folder.path()).plan.len(), 2);
}

//! `run.push`: uploads during a run.

mod hub_commands;
mod tiny;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hub_commands::fake_hub::{Answer, FakeHub};
use hub_commands::{commits, json, smollm3, smollm3_with, stage, with_token, write_recipe};
use serde_json::json;
use tiny::MODEL_AND_DATA;

/// Added to a recipe that has no `run.push`.
const PUSH: &str = "run.push={ repository = \"owner/name\" }";

fn message(stage: &str, step: u64) -> (String, String) {
    ("main".to_owned(), format!("{stage}: step {step} (run tiny)"))
}

fn pushed_recipe(home: &Path, push: &str, stages: &str) {
    write_recipe(&home.join("made"), MODEL_AND_DATA, stages);
    let file = home.join("made/recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replacen("seed = 5\n", &format!("seed = 5\n{push}\n"), 1),
    )
    .unwrap();
}

#[test]
fn each_stage_is_pushed_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty();
    let merged = r#"
[[stage]]
name = "merged"
kind = "merge"
from = "second"
[[stage.model]]
checkpoint = "first"
weight = 0.5
[[stage.model]]
checkpoint = "second"
weight = 0.5
"#;
    let stages = stage("first", "") + &stage("second", "from = \"first\"") + merged;
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\" }\nlicense = \"mit\"",
        &stages,
    );
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert!(fake.is_private());
    assert_eq!(
        fake.messages(),
        [message("first", 2), message("second", 2), message("merged", 0)],
        "{}",
        run.err
    );
    let out = home.join("made/out");
    for (branch, step) in [("first", 2), ("second", 2), ("merged", 0)] {
        let there = &fake.files(branch)["model.safetensors"];
        let here = out.join(format!("{branch}/step-{step:08}/model.safetensors"));
        assert!(*there == fs::read(here).unwrap(), "{branch}");
        assert!(run.err.contains(&format!(
            "pushed step {step} of {branch} to owner/name@{branch} (commit "
        )));
        assert_eq!(
            json(&out.join("pushed.json"))["branches"][branch]["commit"],
            fake.head(branch).unwrap()
        );
    }
    assert_eq!(fake.head("main"), fake.head("merged"));
    let card = String::from_utf8(fake.files("main")["README.md"].clone()).unwrap();
    for part in [
        "license: mit\n",
        "- merge\n",
        "| second | pretrain | first | 2 |",
        "| merged | merge | second | 0 |",
        "| first/step-00000002 | 0.5 | 0.500 |",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    // The links are gone, and a run that is complete sends nothing.
    for stage in ["first", "second", "merged"] {
        let hidden = fs::read_dir(out.join(stage)).unwrap();
        assert!(
            hidden
                .flatten()
                .all(|entry| !entry.file_name().to_str().unwrap().starts_with('.'))
        );
    }
    assert!(with_token(&fake, home, &["run", "made"]).done);
    assert_eq!(commits(&fake), 3);
}

#[test]
fn each_checkpoint_is_pushed_to_a_branch() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty();
    let stages = stage("first", "checkpoint = { every = \"1 steps\", keep = 1 }");
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\", every = \"checkpoint\", private = false }",
        &stages,
    );
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert!(!fake.is_private());
    assert_eq!(fake.head("first-step-2"), fake.head("main"));
    let weights = fs::read(home.join("made/out/first/step-00000002/model.safetensors")).unwrap();
    assert!(fake.files("first-step-2")["model.safetensors"] == weights);
    // The first is there too, unless the second was quicker, which is written down.
    let incidents = fs::read_to_string(home.join("made/out/first/incidents.jsonl")).unwrap();
    let passed = incidents.contains("not-pushed") && incidents.contains("skipped for step 2 of first");
    match fake.head("first-step-1") {
        Some(_) => assert!(!passed && fake.files("first-step-1")["model.safetensors"] != weights),
        None => assert!(passed, "{incidents}"),
    }
}

#[test]
fn a_push_that_fails_does_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty();
    pushed_recipe(home, "", &stage("first", ""));
    assert!(
        smollm3(
            "http://127.0.0.1:9",
            home,
            &["run", "made", "--until", "first"],
            ""
        )
        .done
    );
    let out = home.join("made/out");
    let before = fs::read(out.join("recipe.json")).unwrap();

    // Added to a run that is done: the same run, and its stage is pushed.
    let again = ["run", "made", "--set", PUSH];
    let variables = [("HF_TOKEN", "hf_read")];
    let run = smollm3_with(&fake.hub.address, home, &variables, &again, "");
    assert!(run.done, "{}", run.err);
    assert!(
        run.err.contains("the checkpoint is not on the Hub") && run.err.contains("403"),
        "{}",
        run.err
    );
    let incidents = fs::read_to_string(out.join("first/incidents.jsonl")).unwrap();
    assert!(
        incidents.contains("\"kind\":\"not-pushed\"") && incidents.contains("no write permission"),
        "{incidents}"
    );
    assert!(!out.join("pushed.json").exists());
    let run = with_token(&fake, home, &again);
    assert!(run.done, "{}", run.err);
    assert_eq!(
        fake.messages(),
        [("main".to_owned(), "first: step 2 (run tiny)".to_owned())]
    );
    assert_eq!(fs::read(out.join("recipe.json")).unwrap(), before);

    // What cannot work is reported before anything else is done.
    let fresh = ["run", "made", "--set", PUSH, "--set", "run.output=fresh"];
    let none = smollm3(&fake.hub.address, home, &fresh, "");
    assert!(
        !none.done && none.err.contains("an upload needs a token"),
        "{}",
        none.err
    );
    assert!(!home.join("fresh").exists());
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\" }",
        &stage("first", ""),
    );
    let sweep = with_token(&fake, home, &["sweep", "made", "--seeds", "1,2", "--dry-run"]);
    assert!(
        !sweep.done && sweep.err.contains("run.push: all runs of a sweep"),
        "{}",
        sweep.err
    );
}

#[test]
fn training_does_not_wait_for_a_slow_hub() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let last = home.join("made/out/first/step-00000006");
    let (asked, met) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let (awaited, seen) = (last.clone(), Arc::clone(&met));
    // The first upload is not taken before the last step has been saved.
    let fake = FakeHub::empty_intercepted(
        |_, _| None,
        move |_, _| {
            if !asked.swap(true, Ordering::Relaxed) {
                let deadline = Instant::now() + Duration::from_secs(100);
                while !awaited.exists() && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(10));
                }
                seen.store(awaited.exists(), Ordering::Relaxed);
            }
            None
        },
    );
    let stages = stage("first", "checkpoint = { every = \"1 steps\", keep = 1 }");
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\", every = \"checkpoint\" }",
        &stages.replace("2 steps", "6 steps"),
    );
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert!(met.load(Ordering::Relaxed), "the run waited for its upload");
    // The last one is there, also the files of one that the run has removed meanwhile; skipped ones are recorded.
    let weights = fs::read(last.join("model.safetensors")).unwrap();
    assert!(fake.files("first-step-6")["model.safetensors"] == weights);
    let incidents = fs::read_to_string(home.join("made/out/first/incidents.jsonl")).unwrap();
    for step in 1..6 {
        let passed = incidents.contains(&format!("\"step\":{step},\"kind\":\"not-pushed\""));
        assert!(
            passed != fake.head(&format!("first-step-{step}")).is_some(),
            "{step}: {incidents}"
        );
    }
    assert!(incidents.contains("skipped for step"), "{incidents}");
}

#[test]
fn main_ends_with_the_last_stage_though_an_earlier_one_comes_late() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let asked = AtomicBool::new(false);
    let fake = FakeHub::empty_intercepted(
        move |request, _| {
            let is_first = request.path.contains("/commit/") && !asked.swap(true, Ordering::Relaxed);
            is_first.then(|| Answer::status(403))
        },
        |_, _| None,
    );
    let stages = stage("first", "") + &stage("second", "from = \"first\"");
    pushed_recipe(home, "push = { repository = \"owner/name\" }", &stages);
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert!(
        run.err.contains("the checkpoint is not on the Hub"),
        "{}",
        run.err
    );
    assert_eq!(fake.messages(), [message("second", 2)]);
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert_eq!(
        fake.messages(),
        [message("second", 2), message("first", 2), message("second", 2)]
    );
    assert!(fake.files("main") == fake.files("second"));
    let weights = fs::read(home.join("made/out/second/step-00000002/model.safetensors")).unwrap();
    assert!(fake.files("main")["model.safetensors"] == weights);
    assert!(with_token(&fake, home, &["run", "made"]).done);
    assert_eq!(fake.messages().len(), 3);
}

#[test]
fn the_best_checkpoint_is_pushed_where_it_stands_for_its_stage() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty();
    let tuned = r#"
[[stage]]
name = "sft"
kind = "sft"
from = "first"
sequence_length = 64
global_batch = "2 sequences"
micro_batch = "2 sequences"
until = "2 steps"
template = "chatml-masked"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "constant" }
checkpoint = { every = "1 steps", keep = 2 }
data = [{ name = "chats", paths = ["chats.jsonl"] }]
validation = { paths = ["dev.jsonl"], every = "1 steps", best = "load" }
"#;
    pushed_recipe(home, "", &(stage("first", "") + tuned));
    let rows = |answer: &str| -> String {
        let row = |i: u64| {
            let asked = json!({"role": "user", "content": format!("Is {i} even?")});
            let said = json!({"role": "assistant", "content": answer});
            format!("{}\n", json!({ "messages": [asked, said] }))
        };
        (0..40).map(row).collect()
    };
    fs::write(home.join("made/chats.jsonl"), rows("yes")).unwrap();
    fs::write(home.join("made/dev.jsonl"), rows("no")).unwrap();
    let run = smollm3("http://127.0.0.1:9", home, &["run", "made"], "");
    assert!(run.done, "{}", run.err);
    let sft = home.join("made/out/sft");
    let state = sft.join("step-00000002/state.json");
    let mut newest = json(&state);
    newest["validation"]["best"] = json!({ "step": 1, "loss": 0.5 });
    fs::write(&state, newest.to_string()).unwrap();

    let run = with_token(&fake, home, &["run", "made", "--set", PUSH]);
    assert!(run.done, "{}", run.err);
    assert_eq!(fake.messages(), [message("first", 2), message("sft", 1)]);
    let weights = |step: &str| fs::read(sft.join(step).join("model.safetensors")).unwrap();
    assert!(fake.files("sft")["model.safetensors"] == weights("step-00000001"));
    assert!(weights("step-00000001") != weights("step-00000002"));
}

#[test]
fn another_checkpoint_in_the_place_of_one_is_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty();
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\" }",
        &stage("first", ""),
    );
    assert!(with_token(&fake, home, &["run", "made"]).done);
    let first = home.join("made/out/first");
    let pushed = || json(&home.join("made/out/pushed.json"))["branches"]["first"]["checkpoint"].clone();
    let before = pushed();
    assert!(before.is_string(), "{before}");
    for name in ["tokenizer_config.json", "manifest.json"] {
        let path = first.join("step-00000002").join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    // Links left by a killed process.
    let stale = first.join(".step-00000002.push-1.part");
    fs::create_dir(&stale).unwrap();
    fs::write(stale.join("model.safetensors"), "half").unwrap();
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert!(!stale.exists());
    let config = fs::read(first.join("step-00000002/tokenizer_config.json")).unwrap();
    for branch in ["main", "first"] {
        assert!(fake.files(branch)["tokenizer_config.json"] == config, "{branch}");
    }
    assert_ne!(pushed(), before);
}

#[test]
fn a_record_that_cannot_be_written_does_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let record = home.join("made/out/pushed.json");
    let in_its_place = record.clone();
    let fake = FakeHub::empty_intercepted(
        move |request, _| {
            if request.path.contains("/commit/") {
                let _ = fs::create_dir(&in_its_place);
            }
            None
        },
        |_, _| None,
    );
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\" }",
        &stage("first", ""),
    );
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(
        run.done && run.err.contains("pushed step 2 of first"),
        "{}",
        run.err
    );
    assert!(record.is_dir());
}

#[test]
fn a_stage_that_goes_on_sends_the_checkpoint_that_was_missed() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty();
    let stages = stage("first", "checkpoint = { every = \"1 steps\", keep = 2 }");
    pushed_recipe(home, "", &stages);
    assert!(smollm3("http://127.0.0.1:9", home, &["run", "made"], "").done);
    let first = home.join("made/out/first");
    fs::remove_dir_all(first.join("step-00000002")).unwrap();
    let push = "run.push={ repository = \"owner/name\", every = \"checkpoint\" }";
    let run = with_token(&fake, home, &["run", "made", "--set", push]);
    assert!(run.done, "{}", run.err);
    assert!(fake.head("first-step-2").is_some());
    // It is there, unless the second was quicker, which is written down.
    let incidents = fs::read_to_string(first.join("incidents.jsonl")).unwrap_or_default();
    let weights = fs::read(first.join("step-00000001/model.safetensors")).unwrap();
    match fake.head("first-step-1") {
        Some(_) => assert!(fake.files("first-step-1")["model.safetensors"] == weights),
        None => assert!(
            incidents.contains("\"step\":1,\"kind\":\"not-pushed\"")
                && incidents.contains("skipped for step 2 of first"),
            "{incidents}"
        ),
    }
}

#[test]
fn a_stop_that_cuts_off_the_last_upload_leaves_something_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let reached = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&reached);
    let fake = FakeHub::empty_intercepted(
        |_, _| None,
        move |_, _| {
            if !first.swap(true, Ordering::Relaxed) {
                thread::sleep(Duration::from_secs(5));
            }
            None
        },
    );
    pushed_recipe(
        home,
        "push = { repository = \"owner/name\" }",
        &stage("first", ""),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(["run", "made"])
        .env("HF_ENDPOINT", &fake.hub.address)
        .env("HF_HOME", home)
        .env("HF_TOKEN", FakeHub::TOKEN)
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !reached.load(Ordering::Relaxed) {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the run ended without an upload"
        );
        thread::sleep(Duration::from_millis(10));
    }
    let id = child.id().to_string();
    Command::new("kill").args(["-s", "TERM", &id]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(fake.messages().is_empty());
    let incidents = fs::read_to_string(home.join("made/out/first/incidents.jsonl")).unwrap_or_default();
    assert!(!incidents.contains("not-pushed"), "{incidents}");
    let run = with_token(&fake, home, &["run", "made"]);
    assert!(run.done, "{}", run.err);
    assert_eq!(fake.messages(), [message("first", 2)]);
}

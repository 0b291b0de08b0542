//! Checkpoints that go to the Hub: `upload`, `card`, and runs with `run.push`.

mod hub_commands;
mod tiny;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hub_commands::fake_hub::{Answer, FakeHub};
use hub_commands::{Said, json, smollm3, smollm3_with, stage, trained, write_recipe};
use serde_json::Value;
use tiny::MODEL_AND_DATA;

fn with_token(fake: &FakeHub, home: &Path, arguments: &[&str]) -> Said {
    smollm3_with(
        &fake.hub.address,
        home,
        &[("HF_TOKEN", FakeHub::TOKEN)],
        arguments,
        "",
    )
}

fn commits(fake: &FakeHub) -> usize {
    fake.asked()
        .iter()
        .filter(|asked| asked.contains("/commit/"))
        .count()
}

#[test]
fn a_checkpoint_goes_up_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let model = trained(home);
    let step = "made/out/first/step-00000002";
    let fake = FakeHub::empty();

    let dry = with_token(&fake, home, &["upload", step, "owner/name", "--dry-run"]);
    assert!(
        dry.done && dry.out.contains("model.safetensors") && fake.asked().is_empty(),
        "{}",
        dry.err
    );
    let up = |more: &[&str]| with_token(&fake, home, &[&["upload", step, "owner/name"], more].concat());
    let first = up(&["--private", "--license", "apache-2.0"]);
    assert!(first.done, "{}", first.err);
    assert!(
        first
            .out
            .starts_with(&format!("{}/owner/name (commit ", fake.hub.address)),
        "{}",
        first.out
    );
    assert!(fake.is_private());
    assert_eq!(fake.messages(), [("main".to_owned(), "first: step 2".to_owned())]);
    let names: Vec<String> = fake.files("main").into_keys().collect();
    assert_eq!(
        names,
        [
            ".gitattributes",
            "README.md",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "recipe.toml",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let card = String::from_utf8(fake.files("main")["README.md"].clone()).unwrap();
    assert!(
        card.starts_with(
            "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        ),
        "{card}"
    );
    for part in [
        "# name\n",
        "stage `first` after step 2 of 2 of the run `tiny`",
        "| first | pretrain | random | 2 |",
        "| first | sums | 100.0 % | generated sums with worked steps | not stated |",
        "from_pretrained(\"owner/name\")",
        "vllm serve owner/name",
        "| burn | 0.22.1 |",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert!(!card.contains(home.to_str().unwrap()), "{card}");
    let printed = smollm3(
        "http://127.0.0.1:9",
        home,
        &[
            "card",
            step,
            "--repository",
            "owner/name",
            "--license",
            "apache-2.0",
        ],
        "",
    );
    assert_eq!(printed.out, card);

    let again = up(&["--license", "apache-2.0"]);
    assert!(
        again.done && again.out.contains("has all of it already"),
        "{}{}",
        again.out,
        again.err
    );
    assert_eq!(commits(&fake), 1);
    let branch = up(&["--revision", "kept", "--message", "Kept"]);
    assert!(
        branch.done && branch.out.contains("/owner/name/tree/kept (commit "),
        "{}",
        branch.err
    );
    let card = String::from_utf8(fake.files("kept")["README.md"].clone()).unwrap();
    assert!(
        card.contains("revision=\"kept\"") && !card.contains("license:"),
        "{card}"
    );

    // What comes back says the same.
    let said = |from: &str| {
        let tokens = ["--prompt", "What is 2 + 2?", "--max-new-tokens", "8"];
        with_token(&fake, home, &[&["generate", from], &tokens[..]].concat())
    };
    let (there, here) = (said("owner/name"), said(step));
    assert!(there.done && !there.out.is_empty(), "{}", there.err);
    assert_eq!(there.out, here.out);
    // The recipe beside it is one.
    fs::create_dir(home.join("again")).unwrap();
    fs::write(home.join("again/recipe.toml"), &fake.files("main")["recipe.toml"]).unwrap();
    let again = ["run", "again", "--set", "run.output=again/out"];
    assert!(with_token(&fake, home, &again).done);
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert_eq!(
        weights(&home.join("again/out/first/step-00000002")),
        weights(&home.join(step))
    );

    // A folder of no run: a short card, and one that somebody has written.
    let other = FakeHub::empty();
    let folder = model.to_str().unwrap();
    assert!(with_token(&other, home, &["upload", folder, "owner/name"]).done);
    let card = String::from_utf8(other.files("main")["README.md"].clone()).unwrap();
    assert!(
        card.contains("## How to load it") && !card.contains("## Training"),
        "{card}"
    );
    assert!(!other.files("main").contains_key("recipe.toml"));
    fs::write(model.join("README.md"), "My words").unwrap();
    assert!(with_token(&other, home, &["upload", folder, "owner/name"]).done);
    assert_eq!(other.files("main")["README.md"], b"My words");
}

#[test]
fn what_cannot_be_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    trained(home);
    let fake = FakeHub::empty();
    let step = "made/out/first/step-00000002";
    for (arguments, message) in [
        (
            vec!["made/out", "owner/name"],
            "made/out is no checkpoint: it has no config.json; ",
        ),
        (
            vec!["made", "owner/name"],
            "made is no checkpoint: it has no config.json",
        ),
        (
            vec![step, "datasets/owner/name"],
            "`datasets/owner/name` is not a model: a checkpoint goes to owner/name",
        ),
        (
            vec![step, "name"],
            "`name` with --revision main is no branch of a model",
        ),
        (
            vec![step, "owner/name@old"],
            "`owner/name@old` with --revision main is no branch of a model",
        ),
        (
            vec![step, "owner/name", "--revision", ".."],
            "is no branch of a model",
        ),
        (
            vec![step, "owner/name", "--license", "Apache 2"],
            "`Apache 2` is no licence's name on the Hub",
        ),
    ] {
        let said = with_token(&fake, home, &[&["upload"], &arguments[..]].concat());
        assert!(
            !said.done && said.err.contains(message),
            "{message}: {}",
            said.err
        );
    }
    let said = smollm3(&fake.hub.address, home, &["upload", step, "owner/name"], "");
    assert!(said.err.contains("an upload needs a token"), "{}", said.err);
    assert!(fake.asked().is_empty(), "{:?}", fake.asked());
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
    let message = |stage: &str, step| ("main".to_owned(), format!("{stage}: step {step} (run tiny)"));
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
    let passed = incidents.contains("not-pushed") && incidents.contains("passed over for step 2 of first");
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
    let push = "run.push={ repository = \"owner/name\" }";
    let again = ["run", "made", "--set", push];
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

    // What cannot work at all is said before anything else is done.
    let fresh = ["run", "made", "--set", push, "--set", "run.output=fresh"];
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
    let sweep = with_token(
        &fake,
        home,
        &["sweep", "made", "--grid", "run.seed=1,2", "--dry-run"],
    );
    assert!(
        !sweep.done && sweep.err.contains("run.push: all runs of a sweep"),
        "{}",
        sweep.err
    );
}

#[test]
fn an_upload_that_is_killed_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    trained(home);
    let reached = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&reached);
    // The weights are there, and the commit does not come about.
    let fake = FakeHub::empty_intercepted(
        move |request, _| {
            let stalls = request.path.contains("/commit/") && !first.swap(true, Ordering::Relaxed);
            stalls.then(|| {
                thread::sleep(Duration::from_secs(2));
                Answer::status(503)
            })
        },
        |_, _| None,
    );
    let arguments = ["upload", "made/out/first/step-00000002", "owner/name"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(arguments)
        .env("HF_ENDPOINT", &fake.hub.address)
        .env("HF_HOME", home)
        .env("HF_TOKEN", FakeHub::TOKEN)
        .current_dir(home)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !reached.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fake.messages().is_empty());
    let sent = fake.store.requests().len();
    assert_eq!(sent, 1);
    let again = with_token(&fake, home, &arguments);
    assert!(
        again.done && again.out.contains("0.0 MB sent"),
        "{}{}",
        again.out,
        again.err
    );
    assert_eq!((fake.store.requests().len(), fake.messages().len()), (sent, 1));
    let weights = fs::read(home.join(arguments[1]).join("model.safetensors")).unwrap();
    assert!(fake.files("main")["model.safetensors"] == weights);
}

#[test]
fn training_does_not_wait_for_a_slow_hub() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::empty_intercepted(
        |_, _| None,
        |_, _| {
            thread::sleep(Duration::from_secs(2));
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
    let metrics = fs::read_to_string(home.join("made/out/first/metrics.jsonl")).unwrap();
    let steps = metrics
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let seconds: f64 = steps.filter_map(|step| step["seconds"].as_f64()).sum();
    assert!(seconds < 2.0, "{seconds} s for all steps, 2 s for an upload");
    // The last one is there, also the files of one that the run has removed meanwhile; what was passed over is written down.
    let weights = fs::read(home.join("made/out/first/step-00000006/model.safetensors")).unwrap();
    assert!(fake.files("first-step-6")["model.safetensors"] == weights);
    let incidents = fs::read_to_string(home.join("made/out/first/incidents.jsonl")).unwrap();
    for step in 1..6 {
        let passed = incidents.contains(&format!("\"step\":{step},\"kind\":\"not-pushed\""));
        assert!(
            passed != fake.head(&format!("first-step-{step}")).is_some(),
            "{step}: {incidents}"
        );
    }
    assert!(incidents.contains("passed over for step"), "{incidents}");
}

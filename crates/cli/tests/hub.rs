//! Models on the Hub in every command, and runs that keep their commits.

mod hub_commands;
mod tiny;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use hub_commands::fake_hub::{FakeHub, Files};
use hub_commands::{COMMIT, files_of, json, smollm3, stage, trained, write_recipe};

fn commit() -> String {
    format!("{COMMIT:040x}")
}

#[test]
fn every_command_takes_a_model_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let mut files = files_of(&trained(home));
    files.insert("pytorch_model.bin".to_owned(), b"not read".to_vec());
    // Shorter than SmolLM3's, which fills the context of so small a model.
    let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
    files.insert("chat_template.jinja".to_owned(), template.into());
    let fake = FakeHub::start(files);
    let endpoint = fake.hub.address.clone();
    let command = |arguments: &[&str], input: &str| smollm3(&endpoint, home, arguments, input);

    // Found where it is said, and the same as the folder.
    let tokens = ["--prompt", "Question: What is 2 + 2?\n", "--max-new-tokens", "8"];
    let of_hub = command(&[&["generate", "owner/name"], &tokens[..]].concat(), "");
    assert!(of_hub.done, "{}", of_hub.err);
    let line = format!(
        "owner/name: commit {}, in {}\n",
        commit(),
        home.join("hub/models--owner--name/snapshots")
            .join(commit())
            .display()
    );
    assert!(of_hub.err.contains(&line), "{}", of_hub.err);
    let of_folder = command(&[&["generate", "model"], &tokens[..]].concat(), "");
    assert_eq!(of_hub.out, of_folder.out);
    assert!(!of_hub.out.is_empty());
    assert_eq!(fake.store.requests().len(), 1);

    let pinned = format!("owner/name@{}", commit());
    let exported = command(&["export", &pinned, "--out", "exported", "--dtype", "f32"], "");
    assert!(exported.done, "{}", exported.err);
    assert_eq!(json(&home.join("exported/hub.json"))["owner/name"], commit());
    assert_eq!(
        fs::read(home.join("exported/model.safetensors")).unwrap(),
        fs::read(home.join("model/model.safetensors")).unwrap()
    );
    // What is made of that has it too.
    let again = command(&["export", "exported", "--out", "again"], "");
    assert!(again.done, "{}", again.err);
    assert_eq!(json(&home.join("again/hub.json"))["owner/name"], commit());

    let merged = command(
        &[
            "merge",
            "--model",
            "hf://owner/name=0.5",
            "--model",
            "model=0.5",
            "--tokenizer-from",
            "owner/name",
            "--out",
            "merged",
        ],
        "",
    );
    assert!(merged.done, "{}", merged.err);
    assert_eq!(json(&home.join("merged/hub.json"))["owner/name"], commit());
    let report = json(&home.join("merged/merge.json"));
    assert_eq!(report["parents"][0]["commit"], commit());
    assert_eq!(report["parents"][1].get("commit"), None);
    fs::write(
        home.join("merge.yml"),
        "merge_method: linear\nmodels:\n  - model: owner/name@main\n    parameters: {weight: 1.0}\n  - model: model\n    parameters: {weight: 1.0}\n",
    )
    .unwrap();
    let by_file = command(&["merge", "--config", "merge.yml", "--out", "by-file"], "");
    assert!(by_file.done, "{}", by_file.err);

    fs::write(
        home.join("text.jsonl"),
        "{\"text\": \"One and two are three.\"}\n",
    )
    .unwrap();
    // What cannot be computed is refused before anything is downloaded.
    let requests = fake.hub.requests().len();
    for name in ["generate", "chat"] {
        let mut arguments = vec![name, "owner/name", "--precision", "bf16"];
        if name == "generate" {
            arguments.extend(["--prompt", "a"]);
        }
        let refused = command(&arguments, "");
        assert!(
            !refused.done && refused.err.contains("only f32"),
            "{}",
            refused.err
        );
    }
    assert_eq!(fake.hub.requests().len(), requests);

    let measured = command(
        &[
            "eval",
            "owner/name",
            "--suite",
            "loss",
            "--text",
            "text.jsonl",
            "--json",
            "loss.json",
        ],
        "",
    );
    assert!(measured.done, "{}", measured.err);
    assert_eq!(json(&home.join("loss.json"))["checkpoint"], "owner/name");
    let talk = command(&["chat", "owner/name", "--max-new-tokens", "4"], "Hello\n");
    assert!(
        talk.done && !talk.err.contains("no chat template"),
        "{}",
        talk.err
    );
    let more = command(
        &["tokenizer", "add-chat-tokens", "owner/name", "--out", "more"],
        "",
    );
    assert!(
        more.done && more.out.contains("all tokens exist already"),
        "{}",
        more.err
    );
    let tokenized = command(
        &[
            "data",
            "tokenize",
            "text.jsonl",
            "--tokenizer",
            "owner/name",
            "--out",
            "tokens",
        ],
        "",
    );
    assert!(tokenized.done, "{}", tokenized.err);
    fs::write(home.join("prompts.jsonl"), "{\"prompt\": \"Hello\"}\n").unwrap();
    let asked = command(
        &[
            "data",
            "responses",
            "owner/name",
            "--prompts",
            "prompts.jsonl",
            "--out",
            "answers.jsonl",
            "--max-new-tokens",
            "2",
        ],
        "",
    );
    assert!(asked.done, "{}", asked.err);
    // The weights were downloaded once for all of it.
    assert_eq!(fake.store.requests().len(), 1);
    assert!(fake.asked().iter().all(|path| !path.contains(".bin")));
}

#[test]
fn a_server_is_called_as_its_model_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeHub::start(files_of(&trained(folder.path())));
    let mut server = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(["serve", "owner/name", "--port", "0"])
        .env("HF_ENDPOINT", &fake.hub.address)
        .env("HF_HOME", folder.path())
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(line.starts_with("owner/name at http://127.0.0.1:"), "{line}");
}

#[test]
fn texts_that_name_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::start(Files::new());
    let endpoint = fake.hub.address.clone();
    let generate = |text: &str| smollm3(&endpoint, home, &["generate", text, "--prompt", "a"], "");
    let misspelt = generate("runs/demoo");
    assert!(!misspelt.done);
    assert_eq!(
        misspelt.err,
        format!(
            "note: there is no folder runs/demoo; looking for a model of this name on the Hub\n\
             error: `runs/demoo`: there is no folder runs/demoo; read as a Hub id: there is no model runs/demoo at \
             {endpoint}, or it is private; check the spelling, or set HF_TOKEN to a token that may read it\n"
        )
    );
    let asked = fake.hub.requests().len();
    assert_eq!(asked, 1);
    for path in ["runs/demo/step-1", "./runs/demoo", "/runs/demoo", "demoo"] {
        let error = generate(path).err;
        assert!(error.contains(path) && !error.contains("Hub"), "{error}");
    }
    assert_eq!(
        fake.hub.requests().len(),
        asked,
        "a path is no question for the Hub"
    );
}

#[test]
fn a_folder_of_the_same_name_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::start(files_of(&trained(home)));
    let endpoint = fake.hub.address.clone();
    let generate = || {
        smollm3(
            &endpoint,
            home,
            &["generate", "owner/name", "--prompt", "a", "--max-new-tokens", "2"],
            "",
        )
    };
    assert!(generate().done);
    let asked = fake.hub.requests().len();
    fs::create_dir(home.join("owner")).unwrap();
    fs::rename(home.join("model"), home.join("owner/name")).unwrap();
    let second = generate();
    assert!(second.done, "{}", second.err);
    assert!(
        second.err.contains(
            "note: owner/name is a local folder; for the model of this name on the Hub write hf://owner/name"
        ),
        "{}",
        second.err
    );
    assert_eq!(fake.hub.requests().len(), asked);

    // In a recipe too, and then a plan says nothing of the Hub.
    let model = "[model]\ncheckpoint = \"owner/name\"\n\n[data]\nheld_out = \"5%\"\nmax_epochs = 50\n";
    write_recipe(&home.join("planned"), model, &stage("first", ""));
    fs::rename(home.join("owner"), home.join("planned/owner")).unwrap();
    let plan = smollm3(&endpoint, home, &["plan", "planned"], "");
    assert!(plan.done, "{}", plan.err);
    assert!(
        plan.err.contains("not the Hub") && !plan.err.contains("only config.json"),
        "{}",
        plan.err
    );
    assert_eq!(fake.hub.requests().len(), asked);
}

#[test]
fn a_run_keeps_to_the_commits_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let files = files_of(&trained(home));
    let mut moved = files.clone();
    let fake = FakeHub::start(files);
    let endpoint = fake.hub.address.clone();
    let command = |arguments: &[&str]| smollm3(&endpoint, home, arguments, "");
    let model = "[model]\ncheckpoint = \"owner/name\"\n\n[data]\nheld_out = \"5%\"\nmax_epochs = 50\n";
    let merged = r#"
[[stage]]
name = "merged"
kind = "merge"
from = "first"
[[stage.model]]
checkpoint = "owner/name"
weight = 0.5
[[stage.model]]
checkpoint = "first"
weight = 0.5
"#;
    let stages = stage("first", "") + &stage("second", "from = \"owner/name\"") + merged;
    write_recipe(&home.join("tuned"), model, &stages);

    // A plan reads the configuration alone, and says so.
    let plan = command(&["plan", "tuned"]);
    assert!(plan.done, "{}", plan.err);
    assert!(
        plan.err.contains(
            "only config.json of models on the Hub was downloaded; `smollm3 run` downloads the rest"
        ),
        "{}",
        plan.err
    );
    assert!(plan.out.contains("owner/name on the Hub"), "{}", plan.out);
    assert!(fake.store.requests().is_empty());
    assert_eq!(
        fake.asked()
            .iter()
            .filter(|path| path.contains("/resolve/"))
            .count(),
        2
    );

    let first = command(&["run", "tuned", "--until", "first"]);
    assert!(first.done, "{}", first.err);
    let out = home.join("tuned/out");
    assert_eq!(json(&out.join("hub.json"))["owner/name"], commit());
    assert_eq!(
        json(&out.join("first/step-00000002/hub.json"))["owner/name"],
        commit()
    );
    let manifest = fs::read_to_string(out.join("first/step-00000002/manifest.json")).unwrap();
    assert!(manifest.contains("hub.json"), "{manifest}");

    // The branch moves to other weights, of the same length.
    moved
        .get_mut("model.safetensors")
        .unwrap()
        .iter_mut()
        .rev()
        .take(400)
        .for_each(|byte| *byte ^= 1);
    let other = fake.commit("main", moved);
    let asked = fake.hub.requests().len();
    let second = command(&["run", "tuned"]);
    assert!(second.done, "{}", second.err);
    assert_eq!(fake.hub.requests().len(), asked, "all of the commit is there");
    assert_eq!(
        json(&out.join("second/step-00000002/hub.json"))["owner/name"],
        commit()
    );
    assert_eq!(
        fs::read(out.join("first/step-00000002/model.safetensors")).unwrap(),
        fs::read(out.join("second/step-00000002/model.safetensors")).unwrap()
    );

    let merged = out.join("merged/step-00000000");
    assert_eq!(json(&merged.join("hub.json"))["owner/name"], commit());
    assert_eq!(json(&merged.join("merge.json"))["parents"][0]["commit"], commit());

    // A new run uses the branch's current commit.
    let fresh = format!("run.output={}", home.join("fresh").display());
    let third = command(&["run", "tuned", "--until", "first", "--set", &fresh]);
    assert!(third.done, "{}", third.err);
    assert_eq!(json(&home.join("fresh/hub.json"))["owner/name"], other);
    let offline = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(["run", "tuned", "--set", &fresh])
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", home)
        .current_dir(home)
        .output()
        .unwrap();
    assert!(
        offline.status.success(),
        "{}",
        String::from_utf8_lossy(&offline.stderr)
    );
}

#[test]
fn a_recipe_names_the_key_of_what_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::start(Files::new());
    let model = "[model]\ncheckpoint = \"owner/missing\"\n\n[data]\nheld_out = \"5%\"\nmax_epochs = 50\n";
    write_recipe(&home.join("tuned"), model, &stage("first", ""));
    for command in ["plan", "run"] {
        let said = smollm3(&fake.hub.address, home, &[command, "tuned"], "");
        assert!(!said.done);
        let error = said.err;
        assert_eq!(
            error,
            format!(
                "error: `model.checkpoint`: `owner/missing`: there is no folder tuned/owner/missing; read as a Hub id: \
                 there is no model owner/missing at {}, or it is private; check the spelling, or set HF_TOKEN to a token \
                 that may read it\n",
                fake.hub.address
            )
        );
        assert!(!home.join("tuned/out").exists());
    }
}

#[test]
fn a_sweep_over_a_model_of_the_hub_is_planned_from_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let fake = FakeHub::start(files_of(&trained(home)));
    let model = "[model]\ncheckpoint = \"owner/name\"\n\n[data]\nheld_out = \"5%\"\nmax_epochs = 50\n";
    write_recipe(&home.join("tuned"), model, &stage("first", ""));
    let grid = "stage.first.optimizer.learning_rate=1e-3,2e-3";
    let said = smollm3(
        &fake.hub.address,
        home,
        &["sweep", "tuned", "--grid", grid, "--dry-run"],
        "",
    );
    assert!(said.done, "{}", said.err);
    assert!(said.out.contains("learning_rate"), "{}", said.out);
    assert!(fake.store.requests().is_empty());
}

#[test]
fn a_hub_that_cannot_be_reached_is_reported_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let model = "[model]\ncheckpoint = \"owner/name\"\n";
    write_recipe(&home.join("tuned"), model, &stage("first", ""));
    let said = smollm3("http://127.0.0.1:1", home, &["plan", "tuned"], "");
    assert!(!said.done);
    // The log goes to a pipe here, as it goes to a file in a batch job.
    assert!(!said.err.contains('\x1b'), "{}", said.err);
    let waits = said
        .err
        .lines()
        .filter(|line| line.contains("WARN") && line.ends_with(" before the next attempt"));
    assert_eq!(waits.count(), 2, "{}", said.err);
    let error = said.err.lines().last().unwrap();
    assert!(error.ends_with("; given up after 3 attempts in a row"), "{error}");
}

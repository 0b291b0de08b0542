//! `smollm3 upload` and `smollm3 card`.

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
use hub_commands::{commits, smollm3, trained, with_token};

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
        again.done && again.out.contains("is up to date"),
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

    // The downloaded model gives the same.
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
    let licensed = with_token(
        &other,
        home,
        &["upload", folder, "owner/name", "--license", "mit"],
    );
    assert!(
        !licensed.done
            && licensed.err.contains("--license: ")
            && licensed.err.contains("README.md is uploaded as it is"),
        "{}",
        licensed.err
    );
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
            "made/out is not a checkpoint: it has no config.json; ",
        ),
        (
            vec!["made", "owner/name"],
            "made is not a checkpoint: it has no config.json",
        ),
        (
            vec![step, "datasets/owner/name"],
            "`datasets/owner/name` is not a model; write owner/name",
        ),
        (
            vec![step, "name"],
            "`name` with --revision main is not a branch of a model",
        ),
        (
            vec![step, "owner/name@old"],
            "`owner/name@old` with --revision main is not a branch of a model",
        ),
        (
            vec![step, "owner/name", "--revision", ".."],
            "is not a branch of a model",
        ),
        (
            vec![step, "owner/name", "--license", "Apache 2"],
            "`Apache 2` is not the name of a licence on the Hub",
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

#[test]
fn an_upload_that_is_killed_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    trained(home);
    let reached = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&reached);
    // The weights are uploaded, but the commit fails.
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

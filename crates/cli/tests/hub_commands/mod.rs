//! Commands with a fake Hub.

// Each test file is a separate crate and uses a part of this one.
#![allow(dead_code)]

#[path = "../../../hub/tests/hub/fake_hub.rs"]
pub mod fake_hub;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fake_hub::{FakeHub, Files};
use serde_json::Value;

use crate::tiny::MODEL_AND_DATA;

/// The number of the first commit.
pub const COMMIT: u64 = 0xabc0;

/// The output of a command.
pub struct Said {
    pub out: String,
    pub err: String,
    pub done: bool,
}

/// A command with the Hub at `endpoint` and a cache in `home`.
pub fn smollm3(endpoint: &str, home: &Path, arguments: &[&str], input: &str) -> Said {
    smollm3_with(endpoint, home, &[], arguments, input)
}

/// [`smollm3`] with more variables.
pub fn smollm3_with(
    endpoint: &str,
    home: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
    input: &str,
) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(arguments)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_CACHE")
        .envs(variables.iter().copied())
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        out: text(&output.stdout),
        err: text(&output.stderr),
        done: output.status.success(),
    }
}

/// [`smollm3`] with a token that may write.
pub fn with_token(fake: &FakeHub, home: &Path, arguments: &[&str]) -> Said {
    smollm3_with(
        &fake.hub.address,
        home,
        &[("HF_TOKEN", FakeHub::TOKEN)],
        arguments,
        "",
    )
}

/// How many commits were asked for.
pub fn commits(fake: &FakeHub) -> usize {
    fake.asked()
        .iter()
        .filter(|asked| asked.contains("/commit/"))
        .count()
}

pub fn write_recipe(folder: &Path, model: &str, stages: &str) {
    let text = format!(
        r#"
[run]
name = "tiny"
seed = 5
output = '{out}'
{model}
[source.sums]
category = "math"
kind = "arithmetic"
documents = 60
{stages}"#,
        out = folder.join("out").display()
    );
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("recipe.toml"), text).unwrap();
}

pub fn stage(name: &str, from: &str) -> String {
    format!(
        r#"
[[stage]]
name = "{name}"
kind = "pretrain"
{from}
sequence_length = 64
global_batch = "2 sequences"
micro_batch = "2 sequences"
optimizer = {{ learning_rate = 1e-2 }}
schedule = {{ kind = "constant" }}
phase = [{{ name = "only", until = "2 steps", mixture = {{ sources = {{ sums = 1 }} }} }}]
"#
    )
}

/// A checkpoint of two steps that knows the tokens of conversations.
pub fn trained(folder: &Path) -> PathBuf {
    let nowhere = "http://127.0.0.1:9";
    write_recipe(&folder.join("made"), MODEL_AND_DATA, &stage("first", ""));
    let run = smollm3(nowhere, folder, &["run", "made"], "");
    assert!(run.done, "{}", run.err);
    let arguments = [
        "tokenizer",
        "add-chat-tokens",
        "made/out/first/step-00000002",
        "--out",
        "model",
    ];
    let added = smollm3(nowhere, folder, &arguments, "");
    assert!(added.done, "{}", added.err);
    folder.join("model")
}

pub fn files_of(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

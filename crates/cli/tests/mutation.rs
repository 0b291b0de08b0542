//! Every command on randomly mutated files: it succeeds or reports the problem; it neither panics nor hangs. This takes a
//! few seconds here, minutes with `scripts/verify/mutation.sh`.

#![cfg(unix)]

#[path = "../../corpus/tests/mutation/mutate.rs"]
mod mutate;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mutate::{mutated, seconds, seed};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// A command takes a second or two; no file may make it take minutes.
const LONGEST: Duration = Duration::from_secs(60);

/// Memory limit of a command: no number in a file may make it allocate more.
const MEMORY: u64 = 16 << 30;

const RECIPE: &str = r#"
[run]
name = "tiny"
seed = 5
output = "out"

[model.config]
vocab_size = 320
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 64
rope_theta = 10000.0
no_rope_layer_interval = 4

[tokenizer.train]
vocab_size = 320
bytes = "10kB"

[data]
held_out = "10%"
max_epochs = 50
bad_rows = "skip"

[source.sums]
category = "math"
kind = "arithmetic"
documents = 60
seed = 1

[source.docs]
category = "web"
kind = "jsonl"
paths = ["docs.jsonl"]

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "2 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "wsd", warmup = "1 steps", decay = "1 steps" }
checkpoint = { every = "1 steps", keep = 2 }

[[stage.phase]]
name = "one"
until = "3 steps"
mixture = { sources = { sums = 1, docs = 1 } }

[[stage]]
name = "sft"
kind = "sft"
from = "pretrain"
sequence_length = 64
global_batch = "2 sequences"
micro_batch = "2 sequences"
until = "2 steps"
template = "chatml-masked"
optimizer = { learning_rate = 3e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
checkpoint = { every = "1 steps", keep = 2 }
data = [{ name = "chats", paths = ["chats.jsonl"] }]
"#;

fn lines(path: &Path, rows: impl Iterator<Item = Value>) {
    let text: String = rows.map(|row| format!("{row}\n")).collect();
    fs::write(path, text).unwrap();
}

/// A run that has one step to go, with the files that it and other commands read.
fn prepared_run(folder: &Path) {
    fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    let talk = |i: usize| json!([{"role": "user", "content": format!("Is {i} even?")}, {"role": "assistant", "content": "yes"}]);
    lines(
        &folder.join("chats.jsonl"),
        (0..40).map(|i| json!({"messages": talk(i), "id": i})),
    );
    let document = |i: usize| json!({"text": format!("Document {i} says {}.", i * i), "score": 0.5});
    lines(&folder.join("docs.jsonl"), (0..200).map(document));
    let question = |i: usize| {
        json!({"id": i, "question": format!("What is {i} + 1?"), "answerKey": "B",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]}})
    };
    lines(&folder.join("arc.jsonl"), (0..3).map(question));
    let problem = |i: usize| json!({"question": format!("{i} + 1?"), "answer": format!("#### {}", i + 1)});
    lines(&folder.join("gsm8k.jsonl"), (0..3).map(problem));
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    fs::write(folder.join("tools.json"), tool.to_string()).unwrap();
    let sweep = r#"
base = "recipe.toml"
output = "swept"
seeds = [1, 2]

[[variation]]
name = "fast"
set = ["stage.pretrain.optimizer.learning_rate=2e-2"]
"#;
    fs::write(folder.join("sweep.toml"), sweep).unwrap();
    let (code, said) = run(folder, &["run", "{}"]);
    assert_eq!(code, Some(0), "{said}");
    let last = newest(folder);
    copy(&last, &folder.join("ckpt"));
    // ChatML does not write the tools that `chat` is given.
    let template = folder.join("ckpt/chat_template.jinja");
    let source = fs::read_to_string(&template).unwrap();
    let tools = "{% for tool in tools or [] %}{{ tool.function.name }}\n{% endfor %}";
    fs::write(&template, format!("{tools}{source}")).unwrap();
    // So that the run resumes from the previous one.
    fs::remove_dir_all(last).unwrap();
}

/// The last checkpoint of the run.
fn newest(folder: &Path) -> PathBuf {
    let steps = fs::read_dir(folder.join("out/sft"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut steps: Vec<_> = steps.filter(|path| path.join("config.json").exists()).collect();
    steps.sort();
    steps.pop().unwrap()
}

/// Commands, `{}` standing for the folder, and the files there whose changes they notice; `/` at the end: all
/// below.
const TARGETS: [(&[&str], &[&str]); 15] = [
    (&["plan", "{}"], &["recipe.toml"]),
    (&["sweep", "{}", "--dry-run"], &["sweep.toml", "recipe.toml"]),
    (
        &["data", "explain", "{}"],
        &["recipe.toml", "chats.jsonl", "out/tokenizer/"],
    ),
    (
        &["data", "order", "{}", "--step", "1"],
        &["recipe.toml", "out/data/"],
    ),
    (
        &[
            "data",
            "tokenize",
            "{}/docs.jsonl",
            "--tokenizer",
            "{}/ckpt",
            "--out",
            "{}/tokens",
            "--bad-rows",
            "skip",
        ],
        &["docs.jsonl", "ckpt/tokenizer.json"],
    ),
    (&["status", "{}/out"], &["out/"]),
    (
        &["report", "{}/out", "--output", "{}/report.html"],
        &[
            "out/sft/metrics.jsonl",
            "out/sft/stage.json",
            "out/pretrain/metrics.jsonl",
        ],
    ),
    (&["run", "{}"], &["out/"]),
    (
        &[
            "generate",
            "{}/ckpt",
            "--prompt",
            "1 + 1",
            "--max-new-tokens",
            "2",
        ],
        &["ckpt/"],
    ),
    (
        &[
            "chat",
            "{}/ckpt",
            "--max-new-tokens",
            "2",
            "--tools",
            "{}/tools.json",
        ],
        &["ckpt/", "tools.json"],
    ),
    (&["export", "{}/ckpt", "--out", "{}/exported"], &["ckpt/"]),
    (
        &[
            "merge",
            "--model",
            "{}/ckpt=0.9",
            "--model",
            "{}/ckpt=0.1",
            "--out",
            "{}/merged",
        ],
        &["ckpt/"],
    ),
    (
        &[
            "eval",
            "{}/ckpt",
            "--suite",
            "arc-easy",
            "--data",
            "{}/arc.jsonl",
            "--limit",
            "1",
        ],
        &["arc.jsonl"],
    ),
    (
        &[
            "eval",
            "{}/ckpt",
            "--suite",
            "gsm8k",
            "--data",
            "{}/gsm8k.jsonl",
            "--plain",
            "--limit",
            "1",
            "--max-new-tokens",
            "2",
        ],
        &["gsm8k.jsonl"],
    ),
    (
        &[
            "eval",
            "{}/ckpt",
            "--suite",
            "loss",
            "--store",
            "{}/out/data/docs/held-out",
            "--limit",
            "1",
        ],
        &["out/data/docs/held-out/"],
    ),
];

/// The exit code, `None` if a signal ended it, and the output.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let here = folder.to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command
        .args(arguments.iter().map(|argument| argument.replace("{}", here)))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let limit = libc::rlimit {
        rlim_cur: MEMORY,
        rlim_max: MEMORY,
    };
    // SAFETY: `setrlimit` may be called between fork and exec, and reads only `limit`.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_AS, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"Hello?\n");
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begin.elapsed() > LONGEST => {
                child.kill().unwrap();
                child.wait().unwrap();
                return (None, format!("it took longer than {LONGEST:?}"));
            }
            None => sleep(Duration::from_millis(5)),
        }
    };
    let said = reader.join().unwrap();
    match status.signal() {
        Some(signal) => (None, format!("signal {signal}: {said}")),
        None => (status.code(), said),
    }
}

/// Copies a folder with the times of its files, by which a run knows its data.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
            continue;
        }
        fs::copy(entry.path(), &to).unwrap();
        let changed = entry.metadata().unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&to).unwrap();
        file.set_modified(changed).unwrap();
    }
}

/// All files below a folder, or the file.
fn below(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries.iter().flat_map(|path| below(path)).collect()
}

#[test]
fn no_command_panics() {
    // A run knows its data by their paths, so that all copies take turns in one place.
    let folder = tempfile::tempdir().unwrap();
    let (whole, here) = (folder.path().join("whole"), folder.path().join("here"));
    fs::create_dir(&here).unwrap();
    prepared_run(&here);
    copy(&here, &whole);
    let fresh = || {
        fs::remove_dir_all(&here).unwrap();
        copy(&whole, &here);
    };
    for (arguments, _) in TARGETS {
        fresh();
        let (code, said) = run(&here, arguments);
        assert_eq!(code, Some(0), "{arguments:?} on whole files: {said}");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed());
    let (begin, most) = (Instant::now(), seconds(10));
    let (mut runs, mut found) = (0, Vec::new());
    while begin.elapsed() < most && found.len() < 10 {
        fresh();
        let (arguments, files) = TARGETS.choose(&mut rng).unwrap();
        let files = below(&here.join(files.choose(&mut rng).unwrap()));
        let file = &files[rng.random_range(0..files.len())];
        fs::write(file, mutated(&fs::read(file).unwrap(), &mut rng)).unwrap();
        let (code, said) = run(&here, arguments);
        runs += 1;
        if code.is_none_or(|code| code == 101) || said.contains("panicked") {
            let name = file.strip_prefix(&here).unwrap().display().to_string();
            let kept = std::env::temp_dir().join(format!("smollm3-mutation-{}-{runs}", seed()));
            fs::copy(file, &kept).unwrap();
            found.push(format!(
                "{arguments:?} with {name} as in {}: {said}",
                kept.display()
            ));
        }
    }
    println!("{runs} runs");
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

//! `smollm3 data responses` and `smollm3 data pairs`, also stopped and killed.

#![cfg(unix)]

#[path = "../../inference/tests/checkpoint/mod.rs"]
mod files;
#[path = "../../synthesis/tests/support/server.rs"]
#[allow(dead_code)]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Reply, Server};
use smollm3_chat::{Conversation, Pair};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command
        .arg("data")
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("SYNTHESIS_KEY");
    command
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = command(arguments).output().unwrap();
    let (stdout, stderr) = said(&output);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stdout
}

#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let output = command(arguments).output().unwrap();
    let (_, stderr) = said(&output);
    assert!(!output.status.success(), "{arguments:?}");
    for word in words {
        assert!(stderr.contains(word), "{word} is missing: {stderr}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A file of sums to be asked for.
fn prompts(folder: &Path, number: usize) -> PathBuf {
    let file = folder.join("prompts.jsonl");
    let row = |number: usize| json!({"question": format!("What is {number} + 1?"), "answer": number + 1});
    fs::write(
        &file,
        (0..number)
            .map(|number| format!("{}\n", row(number)))
            .collect::<String>(),
    )
    .unwrap();
    file
}

fn checkpoint(folder: &Path) -> PathBuf {
    let to = files::checkpoint(folder);
    let template = "{% for m in messages %}{{ m.content }}\n{% endfor %}";
    fs::write(to.join("chat_template.jinja"), template).unwrap();
    to
}

/// Starts a command and sends it `signal` once it has added some answers.
fn signalled(arguments: &[&str], answers: &Path, signal: &str) -> Output {
    let count = || fs::read_to_string(answers).map_or(0, |text| text.lines().count());
    let before = count();
    let child: Child = command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while count() < before + 4 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no answers came");
        sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    child.wait_with_output().unwrap()
}

#[test]
fn pairs_of_two_endpoints_stopped_and_killed_on_the_way() {
    // This many requests are answered; the others wait, so that no run ends before its signal.
    let allowed = Arc::new(AtomicUsize::new(1_000));
    let gate = Arc::clone(&allowed);
    let server = Server::start(move |request, _| {
        let enter = |left: usize| left.checked_sub(1);
        while gate
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter)
            .is_err()
        {
            sleep(Duration::from_millis(2));
        }
        Reply::of_everything(request)
    });
    let folder = tempfile::tempdir().unwrap();
    let prompts = prompts(folder.path(), 60);
    let [strong, weak] = ["strong", "weak"].map(|name| format!("{}/v1#{name}", server.address));
    let (whole, out) = (
        folder.path().join("whole.jsonl"),
        folder.path().join("pairs.jsonl"),
    );
    let arguments = |out| {
        let models = ["pairs", "--strong", &strong, "--weak", &weak];
        [
            &models[..],
            &[
                "--prompts",
                text(&prompts),
                "--out",
                text(out),
                "--no-think",
                "--concurrency",
                "4",
            ],
        ]
        .concat()
    };
    let shown = done(&arguments(&whole));
    assert!(
        shown.contains("60 pairs of 60 prompts") && shown.contains("weak: 420 tokens"),
        "{shown}"
    );
    for row in lines(&whole) {
        let pair = Pair::from_row(&row).unwrap();
        assert_eq!(pair.template_kwargs["enable_thinking"], false);
    }

    let arguments = arguments(&out);
    let answers = folder.path().join("pairs.jsonl.answers");
    allowed.store(30, Ordering::SeqCst);
    let killed = signalled(&arguments, &answers, "-KILL");
    assert_eq!(killed.status.code(), None);
    assert!(!out.exists());
    allowed.store(30, Ordering::SeqCst);
    let stopped = signalled(&arguments, &answers, "-INT");
    let (stdout, stderr) = said(&stopped);
    assert_eq!(stopped.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.contains("the same command continues from there") && stdout.contains("not answered yet"),
        "{stdout}{stderr}"
    );
    let before = lines(&out);
    assert!(before.len() < 60);
    let before_requests = server.requests().len();
    allowed.store(1_000, Ordering::SeqCst);
    done(&arguments);
    assert!(server.requests().len() - before_requests < 120);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&whole).unwrap());
    assert!(before.iter().all(|row| lines(&out).contains(row)));
}

#[test]
fn responses_of_a_checkpoint_killed_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, prompts) = (checkpoint(folder.path()), prompts(folder.path(), 16));
    let (whole, out) = (
        folder.path().join("whole.jsonl"),
        folder.path().join("new/rows.jsonl"),
    );
    let more = "--temperature 1 --max-new-tokens 40 --batch 2 --samples 2 --keep cut-off,empty --system Add.";
    let run = |out: &Path| -> Vec<String> {
        let words = [
            "responses",
            text(&checkpoint),
            "--prompts",
            text(&prompts),
            "--out",
            text(out),
        ];
        words
            .into_iter()
            .chain(more.split(' '))
            .map(str::to_owned)
            .collect()
    };
    let arguments = run(&whole);
    let shown = done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(shown.contains("32 conversations of 16 prompts"), "{shown}");
    for row in lines(&whole) {
        let conversation = Conversation::from_row(&row).unwrap();
        let roles: Vec<&Value> = conversation
            .messages
            .iter()
            .map(|message| &message["role"])
            .collect();
        assert_eq!(roles, ["system", "user", "assistant"]);
    }
    let arguments = run(&out);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    signalled(&arguments, &folder.path().join("new/rows.jsonl.answers"), "-KILL");
    done(&arguments);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&whole).unwrap());
    refused(
        &[&arguments[..], &["--seed", "1"]].concat(),
        &["model.seed: 0 there, 1 now"],
    );
    // What is left out can be said later.
    let fewer = arguments
        .iter()
        .filter(|word| !["--keep", "cut-off,empty"].contains(word));
    let shown = done(&fewer.copied().collect::<Vec<_>>());
    assert!(shown.contains("left out") && shown.contains("cut off"), "{shown}");
}

#[test]
fn one_model_against_itself() {
    let server = Server::start(|request, _| {
        // Right for every other seed.
        let due: u64 = request.said().split(' ').nth(2).unwrap().parse().unwrap();
        let wrong = request.body["seed"].as_u64().unwrap() % 2;
        Reply::answer(&format!("It is {}.", due + 1 + wrong))
    });
    let folder = tempfile::tempdir().unwrap();
    let (prompts, out) = (prompts(folder.path(), 20), folder.path().join("pairs.jsonl"));
    let model = format!("{}/v1#m", server.address);
    let arguments = [
        "pairs",
        &model,
        "--right",
        "answer",
        "--prompts",
        text(&prompts),
        "--out",
        text(&out),
    ];
    done(&arguments);
    let rows = lines(&out);
    assert!(rows.len() > 10, "{}", rows.len());
    for row in rows {
        let due: u64 = row["prompt"][0]["content"]
            .as_str()
            .unwrap()
            .split(' ')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(row["chosen"][0]["content"], format!("It is {}.", due + 1));
        assert_eq!(row["rejected"][0]["content"], format!("It is {}.", due + 2));
    }
}

#[test]
fn what_cannot_be_done_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (prompts, out) = (prompts(folder.path(), 2), folder.path().join("rows.jsonl"));
    let (prompts, out) = (text(&prompts), text(&out));
    let files = ["--prompts", prompts, "--out", out];
    let with = |words: &[&'static str]| -> Vec<&str> { [words, &files].concat() };
    refused(
        &with(&["pairs", "nowhere", "--right", "answer"]),
        &["nowhere", "/v1#MODEL"],
    );
    refused(&with(&["pairs", "nowhere"]), &["--right"]);
    refused(&with(&["pairs"]), &["--strong"]);
    refused(&with(&["pairs", "--strong", "x"]), &["--weak"]);
    refused(
        &with(&["pairs", "x", "--right", "answer", "--samples", "1"]),
        &["2 or more"],
    );
    refused(
        &with(&["responses", "http://localhost:1/v1"]),
        &["names no model"],
    );
    refused(
        &with(&[
            "responses",
            "http://localhost:1/v1#m",
            "--key-env",
            "SYNTHESIS_KEY",
        ]),
        &["SYNTHESIS_KEY", "not set"],
    );
    refused(
        &with(&["responses", "http://localhost:1/v1#m", "--attempts", "1"]),
        &["localhost:1", "given up"],
    );
    refused(
        &[
            "responses",
            "http://localhost:1/v1#m",
            "--prompts",
            "none.jsonl",
            "--out",
            out,
        ],
        &["none.jsonl", "does not exist"],
    );
    refused(
        &[
            "responses",
            "http://localhost:1/v1#m",
            "--prompts",
            prompts,
            "--out",
            "rows.parquet",
        ],
        &["rows.parquet", ".jsonl"],
    );
    refused(
        &with(&["responses", "http://localhost:1/v1#m", "--think", "--no-think"]),
        &["--no-think"],
    );
    // Options that no model has.
    for (option, value) in [
        ("--batch", "2"),
        ("--precision", "f32"),
        ("--date", "2025-07-08"),
        ("--backend", "flex"),
    ] {
        refused(
            &with(&["responses", "http://localhost:1/v1#m", option, value]),
            &[option, "checkpoints"],
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["prompts.jsonl"]);
    let checkpoint = checkpoint(folder.path());
    for option in ["--concurrency", "--timeout", "--attempts"] {
        refused(
            &[
                "responses",
                text(&checkpoint),
                "--prompts",
                prompts,
                "--out",
                out,
                option,
                "2",
            ],
            &[option, "endpoints"],
        );
    }
}

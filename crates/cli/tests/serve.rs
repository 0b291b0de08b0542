//! `smollm3 serve`, through the command line: it prints its address, answers, and ends with Ctrl-C.

#[path = "../../inference/tests/checkpoint/mod.rs"]
mod files;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use files::checkpoint;

fn serve(checkpoint: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command
        .arg("serve")
        .arg(checkpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
#[cfg(unix)]
fn it_answers_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(&checkpoint(folder.path()))
        .args(["--port", "0", "--name", "tiny"])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("tiny at http://")
        .and_then(|rest| rest.strip_suffix("/v1"))
        .unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{line}");

    let body = "{\"model\": \"tiny\", \"prompt\": \"1 + 2 = \", \"max_tokens\": 4, \"temperature\": 0}";
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("200 OK") && answer.contains("\"completion_tokens\":4"),
        "{answer}"
    );

    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(server.id() as i32, libc::SIGINT) };
    let output = server.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("stopping"), "{said}");
}

#[test]
fn what_keeps_it_from_serving_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = serve(&checkpoint).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&["--host", "256.0.0.1"], &["256.0.0.1:8000", "--host"]);
    refused(&["--requests", "0"], &["--requests"]);
    refused(&["--date", "tomorrow"], &["tomorrow", "2025-07-08"]);
    refused(&["--precision", "bf16", "--backend", "flex"], &["bf16", "tch"]);
    fs::remove_file(checkpoint.join("tokenizer.json")).unwrap();
    refused(&["--port", "0"], &["tokenizer.json"]);
}

#[test]
fn a_port_that_is_taken_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = serve(&checkpoint(folder.path()))
        .args(["--port", &port])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains(&port), "{error}");
    assert_eq!(error.matches("os error").count(), 1, "{error}");
}

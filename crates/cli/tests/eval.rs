//! `smollm3 eval`, as it is typed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::{StoreWriter, Tokenizer};

fn smollm3() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command.stdin(Stdio::null());
    command
}

/// The fixture model with a tokenizer that fits its 512 entries.
fn checkpoint(folder: &Path) -> (PathBuf, Tokenizer) {
    let to = folder.join("checkpoint");
    fs::create_dir(&to).unwrap();
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/model/a");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let texts = Arithmetic::new(1, 200);
    let tokenizer = Tokenizer::train((0..200).map(|index| texts.text(index)), 512).unwrap();
    tokenizer.save(to.join("tokenizer.json")).unwrap();
    (to, tokenizer)
}

fn run(checkpoint: &Path, options: &[&str]) -> (bool, String, String) {
    let output = smollm3()
        .arg("eval")
        .arg(checkpoint)
        .args(options)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn probes_and_loss_by_position_come_as_table_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, tokenizer) = checkpoint(folder.path());
    let store = folder.path().join("store");
    let mut writer = StoreWriter::create(store.join("0000.ds"), "test", 512).unwrap();
    let texts = Arithmetic::new(2, 400);
    for document in 0..40 {
        let text: String = (0..10).map(|part| texts.text(10 * document + part)).collect();
        writer.push_document(&tokenizer.encode(&text).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let json = folder.path().join("found.json");
    let (store, file) = (store.to_str().unwrap(), json.to_str().unwrap());
    let options = [
        "--lengths",
        "350,400",
        "--items",
        "2",
        "--store",
        store,
        "--json",
        file,
    ];
    let (done, out, error) = run(&checkpoint, &options);
    assert!(done, "{error}");
    for name in [
        "single",
        "multi-query",
        "frequent-words",
        "mean",
        "400",
        "0 to 349",
        "350 to 399",
    ] {
        assert!(out.contains(name), "{name} is missing:\n{out}");
    }
    let found: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(found["long_context"].as_array().unwrap().len(), 14);
    let positions = found["loss_by_position"].as_array().unwrap();
    assert_eq!(positions.len(), 2);
    // A model that has learnt nothing is near ln 512, with large random weights somewhat above.
    assert!(
        positions
            .iter()
            .all(|part| (6.0..9.0).contains(&part["loss"].as_f64().unwrap())),
        "{positions:?}"
    );
    // The same again, to the bit.
    let before = fs::read(&json).unwrap();
    assert!(run(&checkpoint, &options).0);
    assert_eq!(fs::read(&json).unwrap(), before);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, _) = checkpoint(folder.path());
    let refused = |options: &[&str], words: &[&str]| {
        let (done, _, error) = run(&checkpoint, options);
        assert!(!done);
        for word in words {
            assert!(error.contains(word), "{word} is missing: {error}");
        }
    };
    refused(&["--lengths", "40"], &["single", "40", "too short"]);
    refused(&["--lengths", "256", "--items", "0"], &["items"]);
    refused(
        &["--lengths", "256", "--tasks", "needle"],
        &["needle", "multi-key"],
    );
    refused(
        &[
            "--lengths",
            "256",
            "--tasks",
            "single",
            "--items",
            "1",
            "--store",
            "nowhere",
        ],
        &["nowhere"],
    );
    fs::remove_file(checkpoint.join("tokenizer.json")).unwrap();
    refused(&["--lengths", "256"], &["tokenizer.json"]);
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_crash() {
    use std::os::unix::process::ExitStatusExt;
    let recipe = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../recipes/smollm3-3b");
    let mut plan = smollm3()
        .arg("plan")
        .arg(recipe)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(plan.stdout.take());
    let output = plan.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

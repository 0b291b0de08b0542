//! The command is killed, stopped and locked out; the run gives the same bits.

mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tiny::MODEL_AND_DATA;

const STEPS: u64 = 12;

fn smollm3() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A recipe of two phases that saves after every step, in `folder`; it writes to `folder/out`.
fn write_recipe(folder: &Path, backend: &str) {
    let text = format!(
        r#"
[run]
name = "tiny"
seed = 5
output = '{out}'
backend = "{backend}"

{MODEL_AND_DATA}
[source.first]
category = "web"
kind = "arithmetic"
documents = 60
seed = 1

[source.second]
category = "math"
kind = "arithmetic"
documents = 60
seed = 2

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"

[stage.optimizer]
learning_rate = 1e-2

[stage.schedule]
kind = "wsd"
warmup = "2 steps"
decay = "2 steps"

[stage.checkpoint]
every = "1 steps"
keep = 2

[[stage.phase]]
name = "one"
until = "7 steps"
mixture = {{ sources = {{ first = 3, second = 1 }} }}

[[stage.phase]]
name = "two"
until = "{STEPS} steps"
mixture = {{ sources = {{ first = 1, second = 1 }} }}
"#,
        out = folder.join("out").display()
    );
    fs::write(folder.join("recipe.toml"), text).unwrap();
}

fn backends() -> Vec<&'static str> {
    let mut backends = vec!["flex"];
    backends.extend(cfg!(feature = "tch").then_some("tch"));
    backends
}

fn stage(folder: &Path) -> PathBuf {
    folder.join("out/pretrain")
}

fn start(folder: &Path) -> Child {
    smollm3()
        .arg("run")
        .arg(folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Every file of the last checkpoint, and the metrics without times.
fn outcome(folder: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<Value>) {
    let last = stage(folder).join(format!("step-{STEPS:08}"));
    let files = fs::read_dir(&last)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    let mut metrics = lines(&stage(folder).join("metrics.jsonl"));
    for record in &mut metrics {
        let record = record.as_object_mut().unwrap();
        record.remove("seconds");
        record.remove("data_seconds");
    }
    (files, metrics)
}

fn finish(folder: &Path) {
    let status = start(folder).wait().unwrap();
    assert!(status.success(), "{status}");
}

/// The time of a kill.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This long after the line of a step is in the metrics.
    AfterStep(u64, Duration),
    /// This long after the draft of a step's checkpoint has appeared.
    WhileSaving(u64, Duration),
}

impl Moment {
    fn wait(self, folder: &Path, child: &mut Child) {
        let begin = Instant::now();
        let stage = stage(folder);
        loop {
            let (reached, delay) = match self {
                Self::AfterStep(step, delay) => {
                    let step_lines = lines(&stage.join("metrics.jsonl"));
                    let reached = step_lines
                        .iter()
                        .any(|line| line["kind"] == "step" && line["step"] == step);
                    (reached, delay)
                }
                Self::WhileSaving(step, delay) => {
                    (stage.join(format!(".step-{step:08}.part")).exists(), delay)
                }
            };
            if reached {
                sleep(delay);
                return;
            }
            if child.try_wait().unwrap().is_some() {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "{self:?} never came");
            sleep(Duration::from_micros(100));
        }
    }
}

/// After every step and in every save, at delays that a seed chooses.
fn moments() -> Vec<Moment> {
    let mut state = 20_261_123_u64;
    let mut delay = |most: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((state >> 33) % most)
    };
    (1..=STEPS)
        .flat_map(|step| {
            [
                Moment::AfterStep(step, delay(4_000)),
                Moment::WhileSaving(step, delay(8_000)),
            ]
        })
        .collect()
}

#[test]
fn a_killed_run_ends_in_the_same_bits_wherever_it_was_killed() {
    for backend in backends() {
        let whole = tempfile::tempdir().unwrap();
        write_recipe(whole.path(), backend);
        finish(whole.path());
        let expected = outcome(whole.path());
        assert!(expected.0.contains_key("optimizer.safetensors"));
        assert_eq!(expected.1.len() as u64, STEPS + 4);

        let mut killed = 0;
        for moment in moments() {
            let broken = tempfile::tempdir().unwrap();
            write_recipe(broken.path(), backend);
            let mut child = start(broken.path());
            moment.wait(broken.path(), &mut child);
            killed += u32::from(child.try_wait().unwrap().is_none());
            // SIGKILL: nothing can be cleaned up.
            child.kill().unwrap();
            child.wait().unwrap();
            finish(broken.path());
            assert!(outcome(broken.path()) == expected, "{backend}, {moment:?}");
            let drafts = fs::read_dir(stage(broken.path()))
                .unwrap()
                .filter(|entry| {
                    let name = entry.as_ref().unwrap().file_name();
                    name.to_string_lossy().ends_with(".part") || name.to_string_lossy().ends_with(".removed")
                })
                .count();
            assert_eq!(
                drafts, 0,
                "{backend}, {moment:?}: something half-written was left"
            );
        }
        assert!(killed >= 20, "only {killed} runs were killed before their end");
    }
}

/// A small run may end before anything reaches it; one of so many must not.
const TRIES: usize = 10;

#[test]
fn a_second_process_is_kept_out_and_told_who_is_in() {
    let kept_out = (0..TRIES).any(|_| {
        let folder = tempfile::tempdir().unwrap();
        write_recipe(folder.path(), "flex");
        let mut first = start(folder.path());
        Moment::AfterStep(1, Duration::ZERO).wait(folder.path(), &mut first);
        let second = smollm3().arg("run").arg(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(first.wait().unwrap().success());
        // The lock ends with its process.
        finish(folder.path());
        !second.status.success() && text.contains(&format!("pid {}", first.id()))
    });
    assert!(kept_out);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_run_after_a_checkpoint_with_a_code_of_its_own() {
    for signal in ["INT", "TERM"] {
        let stopped = (0..TRIES).any(|_| {
            let folder = tempfile::tempdir().unwrap();
            write_recipe(folder.path(), "flex");
            let mut child = start(folder.path());
            Moment::AfterStep(1, Duration::ZERO).wait(folder.path(), &mut child);
            let id = child.id().to_string();
            Command::new("kill").args(["-s", signal, &id]).status().unwrap();
            let code = child.wait().unwrap().code();
            let steps = lines(&stage(folder.path()).join("metrics.jsonl"))
                .iter()
                .filter(|line| line["kind"] == "step")
                .count();
            let last = stage(folder.path()).join(format!("step-{steps:08}/manifest.json"));
            assert!(last.exists(), "SIG{signal}: no checkpoint of step {steps}");
            finish(folder.path());
            // Not what the signal itself would have left, which is no code at all.
            assert!(matches!(code, Some(0 | 130)), "SIG{signal}: {code:?}");
            code == Some(130)
        });
        assert!(stopped, "SIG{signal} stopped none of {TRIES} runs");
    }
}

/// The plain bodies of all operations give the same curve as the fused ones.
#[test]
fn plain_and_fused_operations_give_one_loss_curve() {
    for backend in backends() {
        let losses = |plain: &str| {
            let folder = tempfile::tempdir().unwrap();
            write_recipe(folder.path(), backend);
            let status = smollm3()
                .arg("run")
                .arg(folder.path())
                .env("SMOLLM3_PLAIN_KERNELS", plain)
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success());
            outcome(folder.path())
                .1
                .iter()
                .filter_map(|record| record["loss"].as_f64())
                .collect::<Vec<f64>>()
        };
        let (fused, plain) = (losses("0"), losses("1"));
        assert_eq!(fused.len() as u64, STEPS);
        let worst = fused
            .iter()
            .zip(&plain)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(worst > 0.0, "{backend}: the same bits, so the switch did nothing");
        assert!(worst < 1e-4, "{backend}: off by {worst:e}");
    }
}

/// The standard error of a failing command.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_output_that_cannot_be_written_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    write_recipe(folder.path(), "flex");
    // A file where the folder should be, as good as a folder without permission: even root cannot write there.
    fs::write(folder.path().join("out"), "").unwrap();
    let text = refused(smollm3().arg("run").arg(folder.path()));
    assert!(
        text.contains(folder.path().join("out").to_str().unwrap()),
        "{text}"
    );
    assert_eq!(text.matches("(os error").count(), 1, "{text}");
}

#[test]
fn an_output_that_vanishes_ends_the_run_with_its_name_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    write_recipe(folder.path(), "flex");
    let mut child = start(folder.path());
    Moment::AfterStep(3, Duration::ZERO).wait(folder.path(), &mut child);
    fs::rename(folder.path().join("out"), folder.path().join("gone")).unwrap();
    // It ends by itself, whatever it says, and what was moved is whole.
    child.wait().unwrap();
    let moved = folder.path().join("gone/pretrain");
    let whole = (1..=STEPS).any(|step| moved.join(format!("step-{step:08}/manifest.json")).exists());
    assert!(whole);
    let _ = fs::remove_dir_all(folder.path().join("out"));
    fs::rename(folder.path().join("gone"), folder.path().join("out")).unwrap();
    finish(folder.path());
}

#[test]
fn a_checkpoint_of_another_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_recipe(folder.path(), "flex");
    finish(folder.path());
    let last = stage(folder.path()).join(format!("step-{STEPS:08}"));
    // A smaller model is put there, with a matching manifest.
    let config = fs::read_to_string(last.join("config.json")).unwrap();
    let changed = config.replace("\"intermediate_size\": 128", "\"intermediate_size\": 64");
    assert_ne!(config, changed);
    fs::write(last.join("config.json"), &changed).unwrap();
    let manifest = fs::read_to_string(last.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    let bytes = changed.as_bytes();
    manifest["files"]["config.json"] = serde_json::json!({
        "bytes": bytes.len(),
        "blake3": blake3::hash(bytes).to_hex().to_string(),
    });
    fs::write(last.join("manifest.json"), manifest.to_string()).unwrap();
    let text = refused(smollm3().arg("run").arg(folder.path()));
    assert!(text.contains("step-00000012"), "{text}");
}

#[test]
fn json_logs_are_one_object_a_line_and_tell_every_step() {
    let folder = tempfile::tempdir().unwrap();
    write_recipe(folder.path(), "flex");
    let output = smollm3()
        .args(["--log-format", "json", "run"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps = lines.iter().filter(|line| line["message"] == "step").count();
    assert_eq!(steps as u64, STEPS);
}

#[test]
fn status_and_report_read_what_a_run_left() {
    let folder = tempfile::tempdir().unwrap();
    write_recipe(folder.path(), "flex");
    finish(folder.path());
    let out = folder.path().join("out");
    let status = smollm3()
        .stdout(Stdio::piped())
        .arg("status")
        .arg(&out)
        .output()
        .unwrap();
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(
        text.contains("step 12 of 12") && text.contains("complete"),
        "{text}"
    );
    let page = folder.path().join("page.html");
    let made = smollm3()
        .arg("report")
        .arg(&out)
        .arg("--output")
        .arg(&page)
        .status()
        .unwrap();
    assert!(made.success());
    assert!(fs::read_to_string(page).unwrap().contains("Loss by source"));
    let text = refused(smollm3().arg("status").arg(folder.path()));
    assert!(text.contains("run.output"), "{text}");
}

//! A shell script that stands for `smollm3`, and requests for the sweep of this repository.
//!
//! The script does what its name makes it: files beside it say which runs fail, die, take their time, or what they measure.
//!
//! Each test file uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use smollm3_sweep::{Outcome, Progress, Request, Result, Slot, Sweep, run};
use tempfile::TempDir;

const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
device=none
previous=
for argument in "$@"; do
  case "$argument" in run.output=*) out=${argument#run.output=};; esac
  [ "$previous" = --device ] && device=$argument
  previous=$argument
done
out=$(echo "$out" | tr -d '"')
name=$(basename "$out")
echo "$1 $name $device" >> "$here/calls"
if [ "$1" = data ]; then
  [ -f "$here/fail-data" ] && { echo "error: no text" >&2; exit 1; }
  mkdir -p "$out/tokenizer" "$out/data/rust/train"
  echo '{}' > "$out/tokenizer/tokenizer.json"
  echo tokens > "$out/data/rust/train/rust.ds"
  exit 0
fi
[ -f "$here/fail-$name" ] && { echo "a line"; echo "error: out of luck" >&2; exit 1; }
[ -f "$here/die-$name" ] && kill -9 $$
trap 'echo saved >> "$out/saved"; exit 130' TERM
count=0
while [ -f "$here/slow" ] && [ $count -lt 400 ]; do sleep 0.05; count=$((count + 1)); done
[ -f "$here/brief" ] && sleep 0.3
mkdir -p "$out/short"
echo '{"name": "short", "steps": 10, "tokens_per_step": 4096, "sequence_length": 128, "rope_theta": 1e4,
  "flops_per_token": 1.0, "peak_flops": null, "sources": [], "phases": []}' > "$out/short/stage.json"
[ -f "$here/metrics-$name" ] && cp "$here/metrics-$name" "$out/short/metrics.jsonl"
echo "end $name $device" >> "$here/calls"
exit 0
"#;

/// A folder with the script, and one to write to.
pub struct Stage {
    pub folder: TempDir,
}

impl Stage {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("smollm3");
        fs::write(&program, SCRIPT).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the script notice `name`.
    pub fn mark(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    pub fn unmark(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// What the script was called for, a line each.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn calls_of(&self, command: &str) -> usize {
        self.calls()
            .iter()
            .filter(|line| line.starts_with(command))
            .count()
    }

    pub fn request(&self, only: &[&str], seeds: &[u64]) -> Request {
        Request {
            path: ablations(),
            seeds: seeds.to_vec(),
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            output: Some(self.path("out")),
            ..Request::default()
        }
    }

    pub fn run(&self, sweep: &Sweep, slots: &[Slot]) -> Result<Outcome> {
        self.run_until(sweep, slots, &AtomicBool::new(false), &mut |_| {})
    }

    pub fn run_until(
        &self,
        sweep: &Sweep,
        slots: &[Slot],
        stop: &AtomicBool,
        say: &mut dyn FnMut(&Progress),
    ) -> Result<Outcome> {
        run(sweep, &self.path("smollm3"), slots, stop, say)
    }
}

pub fn ablations() -> PathBuf {
    recipes("ablations")
}

pub fn recipes(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../recipes")
        .join(name)
}

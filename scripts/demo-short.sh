#!/usr/bin/env bash
# The demo with a few steps a phase: every part of it runs, nothing is learnt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/smollm3-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
short=(
  --set "run.output=$work/run"
  --set "tokenizer.train.bytes=1MB"
  --set "stage.pretrain.schedule.warmup=2 steps"
  --set "stage.pretrain.phase.phase-1.until=4 steps"
  --set "stage.pretrain.phase.phase-2.until=7 steps"
  --set "stage.pretrain.phase.phase-3.until=10 steps"
)
cargo run --quiet -- plan recipes/demo "${short[@]}"
cargo run --quiet -- run recipes/demo "${short[@]}"
# Once more: finds the work done.
cargo run --quiet -- run recipes/demo "${short[@]}" > /dev/null
cargo run --quiet -- generate "$work/run/pretrain/step-00000010" --prompt "Question: What is 2 + 3?" --max-new-tokens 8

#!/usr/bin/env bash
# The demo with a few short steps a phase: every part of it runs, nothing is learnt.
#
#   scripts/demo-short.sh [BACKEND [PROGRAM]]     # PROGRAM: a smollm3 that has the backend, else it is built
set -euo pipefail
backend=${1:-flex}
program=${2:+$(realpath "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/smollm3-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
short=(
  --set "run.output=$work/run"
  --set "run.backend=$backend"
  --set "tokenizer.train.bytes=1MB"
  --set "data.held_out_rows=1"
  --set "stage.pretrain.sequence_length=64"
  --set "stage.pretrain.global_batch=4 sequences"
  --set "stage.pretrain.micro_batch=2 sequences"
  --set "stage.pretrain.schedule.warmup=2 steps"
  --set "stage.pretrain.phase.phase-1.until=2 steps"
  --set "stage.pretrain.phase.phase-2.until=4 steps"
  --set "stage.pretrain.phase.phase-3.until=6 steps"
  --set "stage.long-context-512.sequence_length=288"
  --set "stage.long-context-512.global_batch=2 sequences"
  --set "stage.long-context-512.micro_batch=2 sequences"
  --set "stage.long-context-512.schedule.warmup=1 steps"
  --set "stage.long-context-512.phase.long-context-512.until=2 steps"
  --set "stage.long-context-1024.sequence_length=320"
  --set "stage.long-context-1024.global_batch=1 sequences"
  --set "stage.long-context-1024.micro_batch=1 sequences"
  --set "stage.long-context-1024.schedule.warmup=1 steps"
  --set "stage.long-context-1024.phase.long-context-1024.until=2 steps"
  --set "evaluation.long_context.lengths=['64', '320']"
  --set "evaluation.long_context.documents=1"
  --set "evaluation.exact_match.items=1"
  --set "stage.mid-train.global_batch=2 sequences"
  --set "stage.mid-train.micro_batch=2 sequences"
  --set "stage.mid-train.until=2 steps"
  --set "stage.sft.global_batch=2 sequences"
  --set "stage.sft.micro_batch=2 sequences"
  --set "stage.sft.until=2 steps"
  --set "stage.apo.global_batch=2 pairs"
  --set "stage.apo.until=2 steps"
  --set "stage.apo.data.sums-think.sums.conversations=8"
  --set "stage.apo.data.sums-no-think.sums.conversations=8"
  --set "evaluation.held_out.sequence_length=64"
  --set "evaluation.held_out.rows=1"
  --set "evaluation.preference.items=2"
)
smollm3() {
  if [ -n "$program" ]; then "$program" "$@"; else cargo run --quiet --features "$backend" -- "$@"; fi
}
smollm3 plan recipes/demo "${short[@]}"
smollm3 run recipes/demo "${short[@]}"
# Once more: finds the work done.
smollm3 run recipes/demo "${short[@]}" > /dev/null
smollm3 generate "$work/run/long-context-1024/step-00000002" --prompt "Question: What is 2 + 3?" --max-new-tokens 8 --backend "$backend"
echo "What is 2 + 3?" | smollm3 chat "$work/run/merged/step-00000000" --max-new-tokens 8 --backend "$backend"
# Not through a pipe: `head` may be gone before the last line, which would count as a failure.
smollm3 data explain recipes/demo "${short[@]}" --stage sft --row 2 > "$work/explained"
head -5 "$work/explained"

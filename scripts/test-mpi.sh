#!/usr/bin/env bash
# The collectives over MPI, with ranks as processes of this machine: the same bits as a loop over ranks, at any number
# of ranks and twice over; ranks that end, panic or hang take the job down in time and are named. Then the program itself:
# a small recipe trained by 1, 2 and 4 ranks, killed, stopped and gone on with. Needs an MPI library and libclang (Debian:
# libopenmpi-dev openmpi-bin libclang-dev). With `--time` also how long sums take.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# mpirun refuses root unless it is told twice; where tests run in a container, root is all there is.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# With more ranks than cores MPI gives its core away in every call; our ranks sleep by themselves.
export OMPI_MCA_mpi_yield_when_idle=0

# SMOLLM3_PROFILE=dev tests a debug build.
profile=${SMOLLM3_PROFILE:-release}
cargo build --profile "$profile" -p smollm3-collective --features mpi --example ranks
cargo build --profile "$profile" -p smollm3-cli --features mpi
built="${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}"
ranks="$built/examples/ranks"
smollm3="$built/smollm3"
work=$(mktemp -d "${TMPDIR:-/tmp}/smollm3-mpi.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# start N WHAT SECONDS: all output in $work/log, the exit code in $code, the time in $took.
start() {
  local begin=$SECONDS
  code=0
  timeout --kill-after=5 120 mpirun -n "$1" --oversubscribe "$ranks" "$2" "$3" > "$work/log" 2>&1 || code=$?
  took=$((SECONDS - begin))
}

# verdict NAME CONDITION…: counts a check, and shows the log of one that failed.
verdict() {
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    printf 'ok     %s (%s s)\n' "$name" "$took"
  else
    failed=$((failed + 1))
    printf 'FAILED %s: exit code %s after %s s\n' "$name" "$code" "$took"
    sed 's/^/    /' "$work/log"
  fi
}

ended_well() { [ "$code" -eq 0 ]; }
# ended_with SECONDS TEXT: the job failed within a time and said so.
ended_with() { [ "$code" -ne 0 ] && [ "$took" -le "$1" ] && grep -qE -- "$2" "$work/log"; }

for world in 1 2 3 4; do
  start "$world" check 60
  verdict "$world ranks: all operations to the bit" ended_well
  cp "$work/log" "$work/first"
  start "$world" check 60
  verdict "$world ranks: the same bits again" cmp -s "$work/log" "$work/first"
done

for world in 2 4; do
  last=$((world - 1))
  start "$world" hang 3
  verdict "$world ranks: one that hangs is named" \
    ended_with 6 "ends the job: rank $last \(host .*, process [0-9]+\) has not arrived within 3s at exchange [0-9]+, part of all_reduce"
  start "$world" panic 60
  verdict "$world ranks: one that panics ends the job" ended_with 5 "rank $last \(host .*\) ends the job: it panicked"
  start "$world" exit 60
  verdict "$world ranks: one that exits ends the job" ended_with 5 "Exit code: +3"
  start "$world" leave 60
  verdict "$world ranks: one that leaves early ends the job" \
    ended_with 5 "rank $last \(host .*\) ends the job: it ended before the job did"
  start "$world" abort 60
  verdict "$world ranks: one that cannot go on says why" ended_with 5 "rank $last \(host .*\) ends the job: its disk is full"
  start "$world" disagree 60
  verdict "$world ranks: one with another recipe is named" \
    ended_with 5 "rank $last \(host .*\) has recipe 77b1 where most have 9f3a"
done

# A rank that is killed from outside, as by the kernel for want of memory. Ranks are mpirun's children.
begin=$SECONDS
code=0
mpirun -n 2 --oversubscribe "$ranks" hang 60 > "$work/log" 2>&1 &
job=$!
for _ in $(seq 100); do
  victim=$(pgrep -P "$job" | tail -1 || true)
  [ -n "$victim" ] && break
  sleep 0.1
done
sleep 1
kill -KILL "$victim"
wait "$job" || code=$?
took=$((SECONDS - begin))
verdict "2 ranks: one that is killed ends the job" ended_with 15 "exited on signal 9"

# Variables of a launcher that is not the library's.
code=0
took=0
env OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=0 OMPI_COMM_WORLD_LOCAL_SIZE=2 \
  "$ranks" check > "$work/log" 2>&1 || code=$?
verdict "a launcher that the library does not know is refused" ended_with 5 "sees rank 0 of 1; start it with the mpirun"

# The program. `train N FOLDER [OPTIONS]` runs the recipe on N ranks into a folder.
cat > "$work/recipe.toml" << 'RECIPE'
[run]
name = "ranks"
seed = 5
output = "out"
backend = "flex"

[model.config]
vocab_size = 320
hidden_size = 64
intermediate_size = 128
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rope_theta = 10000.0
no_rope_layer_interval = 4

[tokenizer.train]
vocab_size = 320
bytes = "20kB"

[data]
held_out = "5%"
max_epochs = 500

[source.sums]
category = "math"
kind = "arithmetic"
documents = 200

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "8 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "wsd", warmup = "5 steps", decay = "5 steps" }
checkpoint = { every = "10 steps", keep = 10 }
phase = [{ name = "one", until = "50 steps", mixture = { sources = { sums = 1 } } }]

# At ten times these rates, rounding in the gradients of tokens that have been seen once or twice grows beyond 1e-6.
[[stage]]
name = "sft"
kind = "sft"
from = "pretrain"
sequence_length = 64
global_batch = "8 sequences"
micro_batch = "2 sequences"
until = "50 steps"
template = "chatml-masked"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
data = [{ name = "chats", paths = ["chats.jsonl"] }]

[[stage]]
name = "apo"
kind = "apo"
from = "pretrain"
sequence_length = 48
global_batch = "8 pairs"
row_length = 128
until = "50 steps"
template = "chatml"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
data = [{ name = "numbers", paths = ["pairs.jsonl"] }]
RECIPE
python3 - "$work" << 'PY'
import json, sys
def talk(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
with open(f"{sys.argv[1]}/chats.jsonl", "w") as file:
    for i in range(200):
        print(json.dumps({"messages": talk(f"Is {i} even?", "no" if i % 2 else "yes")}), file=file)
with open(f"{sys.argv[1]}/pairs.jsonl", "w") as file:
    for i in range(100):
        chosen, rejected = (talk(f"Say {i}.", str(number)) for number in (i, i + 1))
        print(json.dumps({"prompt": f"Say {i}.", "chosen": chosen, "rejected": rejected}), file=file)
PY

train() {
  local world=$1 folder=$2
  shift 2
  timeout --kill-after=5 300 mpirun -n "$world" --oversubscribe --bind-to none "$smollm3" run "$work/recipe.toml" \
    --set "run.output=$folder" "$@" > "$work/log" 2>&1
}
run() {
  local begin=$SECONDS
  code=0
  train "$@" || code=$?
  took=$((SECONDS - begin))
}
# close A B STAGES: two runs have 50 steps in each stage, and losses that are equal to 1e-6 relative.
close() {
  python3 - "$@" << 'PY'
import json, sys
def losses(run, stage):
    lines = map(json.loads, open(f"{run}/{stage}/metrics.jsonl"))
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "step"}
one, other, *stages = sys.argv[1:]
good = True
for stage in stages:
    a, b = losses(one, stage), losses(other, stage)
    worst = max(abs(a[step] - b[step]) / a[step] for step in a)
    print(f"       {stage}: worst relative difference of a loss: {worst:.1e}")
    good &= set(a) == set(b) == set(range(1, 51)) and worst <= 1e-6
sys.exit(not good)
PY
}
# parts RUN N: each of N ranks has written an equal part of the optimizer's state, but for what rounding to a
# cache line moves.
parts() {
  python3 - "$@" << 'PY'
import glob, os, sys
run, world = sys.argv[1], int(sys.argv[2])
sizes = [os.path.getsize(file) for file in sorted(glob.glob(f"{run}/pretrain/step-00000050/optimizer*.safetensors"))]
print(f"       optimizer state by rank: {', '.join(f'{size / 1e6:.3f} MB' for size in sizes)}")
sys.exit(not (len(sizes) == world and max(sizes) - min(sizes) < 0.05 * max(sizes)))
PY
}
ended_well_and_close() { ended_well && close "$@"; }
# collectives RUN: what the sums took.
collectives() {
  python3 - "$1" << 'PY'
import json, sys
lines = map(json.loads, open(f"{sys.argv[1]}/pretrain/metrics.jsonl"))
steps = [line for line in lines if line["kind"] == "step"][10:]
sums = [step["collectives"] for step in steps]
seconds, whole = sum(s["seconds"] for s in sums), sum(step["seconds"] for step in steps)
print(f"       sums: {seconds / len(steps) * 1e3:.2f} ms of {whole / len(steps) * 1e3:.2f} ms a step, "
      f"{sums[0]['bytes'] / 1e6:.2f} MB sent by rank 0")
PY
}

run 1 "$work/one"
verdict "1 rank trains" ended_well
for world in 2 4; do
  run "$world" "$work/ranks-$world"
  verdict "$world ranks have the losses of one" ended_well_and_close "$work/one" "$work/ranks-$world" pretrain sft apo
  verdict "$world ranks: each has its part of the optimizer's state" parts "$work/ranks-$world" "$world"
  [ "$code" -ne 0 ] || collectives "$work/ranks-$world"
  verdict "$world ranks: each has a log" [ -s "$work/ranks-$world/logs/rank-$((world - 1)).log" ]
done

# Killed in the middle, and gone on with by another number of ranks.
train 4 "$work/killed" --rank-timeout 20 &
job=$!
for _ in $(seq 600); do
  [ -d "$work/killed/pretrain/step-00000010" ] && break
  sleep 0.1
done
begin=$SECONDS
victim=$(pgrep -f "run.output=$work/killed" | tail -1)
kill -KILL "$victim"
code=0
wait "$job" || code=$?
took=$((SECONDS - begin))
verdict "4 ranks: one that is killed ends the run" ended_with 25 "exited on signal 9"
run 2 "$work/killed"
verdict "2 ranks go on from there to the same losses" ended_well_and_close "$work/one" "$work/killed" pretrain sft apo

# Stopped by the scheduler's signal, and gone on with.
train 2 "$work/stopped" &
job=$!
for _ in $(seq 600); do
  [ -d "$work/stopped/pretrain/step-00000010" ] && break
  sleep 0.1
done
begin=$SECONDS
kill -USR1 "$(pgrep -f "run.output=$work/stopped" | tail -1)"
code=0
wait "$job" || code=$?
took=$((SECONDS - begin))
is_stopped() { [ "$code" -eq 130 ] && grep -q "stopped after step" "$work/log"; }
verdict "SIGUSR1 to one of 2 ranks: all save and stop" is_stopped
run 4 "$work/stopped"
verdict "4 ranks go on from there to the same losses" ended_well_and_close "$work/one" "$work/stopped" pretrain sft apo

# Ranks of one job with different recipes, and too many ranks.
begin=$SECONDS
code=0
timeout 120 mpirun --oversubscribe -n 2 "$smollm3" run "$work/recipe.toml" --set "run.output=$work/odd" : \
  -n 1 "$smollm3" run "$work/recipe.toml" --set "run.output=$work/odd" --set run.seed=6 > "$work/log" 2>&1 || code=$?
took=$((SECONDS - begin))
verdict "a rank with another recipe is named" ended_with 20 "rank 2 \(host .*\) has recipe"
run 3 "$work/three"
verdict "3 ranks cannot share 8 rows" ended_with 20 "8 sequences cannot be divided among 3 devices"

if [ "${1:-}" = --time ]; then
  for world in 2 4; do
    printf '%s ranks\n' "$world"
    mpirun -n "$world" --oversubscribe "$ranks" time 2>&1
  done
fi
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]

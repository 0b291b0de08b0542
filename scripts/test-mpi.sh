#!/usr/bin/env bash
# The collectives over MPI, with ranks as processes of this machine: the same bits as a loop over ranks, at any number
# of ranks and twice over; ranks that end, panic or hang take the job down in time and are named. Needs an MPI library
# and libclang (Debian: libopenmpi-dev openmpi-bin libclang-dev). With `--time` also how long sums take.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# mpirun refuses root unless it is told twice; where tests run in a container, root is all there is.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# With more ranks than cores MPI gives its core away in every call; our ranks sleep by themselves.
export OMPI_MCA_mpi_yield_when_idle=0

cargo build --release -p smollm3-collective --features mpi --example ranks
ranks="${CARGO_TARGET_DIR:-target}/release/examples/ranks"
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

if [ "${1:-}" = --time ]; then
  for world in 2 4; do
    printf '%s ranks\n' "$world"
    mpirun -n "$world" --oversubscribe "$ranks" time 2>&1
  done
fi
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]

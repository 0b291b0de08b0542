#!/usr/bin/env bash
# The job scripts without a cluster: their syntax, the commands that the chain submits, what it refuses, and what a job
# does when it is told to stop, with stand-ins for Slurm's programs that write down how they are called.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
home=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/smollm3-slurm.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

verdict() { # NAME COMMAND…
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok     $name"
  else
    failed=$((failed + 1))
    echo "FAILED $name"
  fi
}
equal() { diff <(printf '%s\n' "$1") <(printf '%s\n' "$2"); }

for script in scripts/slurm/*; do
  verdict "syntax of $script" bash -n "$script"
done
if command -v shellcheck > /dev/null; then
  verdict "shellcheck" shellcheck --external-sources scripts/slurm/* scripts/test-slurm.sh scripts/test-mpi.sh
else
  echo "NOT CHECKED: shellcheck is not installed"
fi

# A recipe with what could mislead a reader of stages.
mkdir "$work/recipe"
cat > "$work/recipe/recipe.toml" << 'RECIPE'
[run]
name = "not a stage"
[[stage]]
kind = "pretrain"
name = "first"
[stage.schedule]
kind = "wsd"
[[stage]]   # the second
name = "second"   # "quoted"
kind = "sft"
[[stage.data]]
name = "chats"
[[stage]]
name = "last"
kind = "merge"
RECIPE
chain=scripts/slurm/chain.sh
recipe="$work/recipe"
first="sbatch --parsable --job-name=first scripts/slurm/pretrain.sbatch $recipe first"
after="--kill-on-invalid-dep=yes"
verdict "the whole chain" equal "$first
sbatch --parsable --job-name=second --dependency=afterok:ID-OF-first $after scripts/slurm/sft.sbatch $recipe second
sbatch --parsable --job-name=last --dependency=afterok:ID-OF-second $after scripts/slurm/merge.sbatch $recipe last" \
  "$($chain "$recipe" --dry-run)"
verdict "a part of it, with options" equal \
  "sbatch --parsable --job-name=second --account=a\\ b --nodes=2 scripts/slurm/sft.sbatch $recipe second" \
  "$($chain "$recipe" --dry-run --from second --until second --with second --nodes=2 --with first --nodes=9 -- "--account=a b")"
for own in recipes/*/recipe.toml; do
  # shellcheck disable=SC2126 # lines, not matches
  stages=$(grep '^\[\[stage\]\]' "$own" | wc -l)
  verdict "every stage of $own has a job" equal "$stages" "$($chain "$own" --dry-run | wc -l)"
done

refused() { # TEXT ARGUMENTS…
  local text=$1 said
  shift
  said=$($chain "$@" 2>&1) && return 1
  grep -qF -- "$text" <<< "$said" || { echo "$said"; return 1; }
}
verdict "refused: no recipe" refused "which recipe?" --dry-run
verdict "refused: a recipe that is not there" refused "there is no" "$work/none" --dry-run
verdict "refused: an unknown stage" refused 'has no stage "third"; it has first, second, last' "$recipe" --dry-run --from third
verdict "refused: options of an unknown stage" refused 'has no stage "third"' "$recipe" --dry-run --with third --nodes=2
verdict "refused: stages the wrong way round" refused "--until first comes before --from last" "$recipe" --dry-run --from last --until first
verdict "refused: an unknown option" refused "does not know --nodes" "$recipe" --nodes 2
sed 's/"merge"/"distil"/' "$recipe/recipe.toml" > "$work/odd.toml"
verdict "refused: a kind without a job script" refused 'no scripts/slurm/distil.sbatch' "$work/odd.toml" --dry-run
grep -v '"last"' "$recipe/recipe.toml" > "$work/nameless.toml"
verdict "refused: a stage without a name" refused "has no name" "$work/nameless.toml" --dry-run

# Stand-ins: sbatch gives numbers, srun runs its program, the program saves when it is asked to.
mkdir "$work/bin"
cat > "$work/bin/sbatch" << STANDIN
#!/usr/bin/env bash
echo "sbatch \$*" >> "$work/calls"
echo "\$((100 + \$(wc -l < "$work/calls")));cluster"
STANDIN
cat > "$work/bin/srun" << STANDIN
#!/usr/bin/env bash
echo "srun \$* \$SLURM_MPI_TYPE \$SRUN_CPUS_PER_TASK" >> "$work/calls"
exec "\${@:2}"
STANDIN
cat > "$work/bin/scontrol" << STANDIN
#!/usr/bin/env bash
echo "scontrol \$*" >> "$work/calls"
STANDIN
cat > "$work/bin/squeue" << 'STANDIN'
#!/usr/bin/env bash
echo "${STATE:-RUNNING}"
STANDIN
cat > "$work/bin/smollm3" << STANDIN
#!/usr/bin/env bash
trap 'exit "\${SAVED:-130}"' USR1
trap 'exit 130' TERM
echo "\$\$" > "$work/started"
for _ in \$(seq "\${TENTHS:-0}"); do sleep 0.1; done
exit "\${ENDS:-0}"
STANDIN
chmod +x "$work"/bin/*
export PATH="$work/bin:$PATH"

# Options of the program, as of the environment, do not belong into these tests.
unset SMOLLM3 SMOLLM3_OPTIONS SLURM_MPI_TYPE
$chain "$recipe" > "$work/log"
verdict "jobs wait for the number of the one before" equal "$first
sbatch --parsable --job-name=second --dependency=afterok:101 $after scripts/slurm/sft.sbatch $recipe second
sbatch --parsable --job-name=last --dependency=afterok:102 $after scripts/slurm/merge.sbatch $recipe last" \
  "$(cat "$work/calls")"

# job SIGNAL VARIABLES…: runs a job script, sends it a signal (as `ranks:SIGNAL`, its ranks alone), and sets $code.
job() {
  local signal=$1
  shift
  rm -f "$work/calls" "$work/started"
  code=0
  env SLURM_SUBMIT_DIR="$home" SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=12 "$@" \
    bash scripts/slurm/pretrain.sbatch "$recipe" first > "$work/log" 2>&1 &
  local script=$!
  until [ -s "$work/started" ]; do sleep 0.05; done
  case "$signal" in
    none) ;;
    ranks:*) kill "-${signal#ranks:}" "$(cat "$work/started")" ;;
    *) kill "-$signal" "$script" ;;
  esac
  wait "$script" || code=$?
}
called="srun --kill-on-bad-exit=1 smollm3 run $recipe --from first --until first"
job none ENDS=0
verdict "a job that ends well" equal "0 $called pmix 12" "$code $(cat "$work/calls")"
job none ENDS=3 SMOLLM3_OPTIONS="--rank-timeout 60"
verdict "a job that fails" equal "3 $called --rank-timeout 60 pmix 12" "$code $(cat "$work/calls")"
job USR1 TENTHS=100
verdict "a job whose time is up is put back" equal "130 $called pmix 12
scontrol requeue 7" "$code $(cat "$work/calls")"
job ranks:TERM TENTHS=100
verdict "a job that is preempted is put back" equal "130 $called pmix 12
scontrol requeue 7" "$code $(cat "$work/calls")"
job ranks:TERM TENTHS=100 STATE=COMPLETING
verdict "a job that is cancelled is not" equal "130 $called pmix 12" "$code $(cat "$work/calls")"
job USR1 TENTHS=100 SAVED=1
verdict "nor is one that cannot save" equal "1 $called pmix 12" "$code $(cat "$work/calls")"
job TERM TENTHS=5
verdict "the script outlives its ranks" equal "0 $called pmix 12" "$code $(cat "$work/calls")"

# A shard of a tokenisation: its command, and what becomes of it.
cat > "$work/bin/smollm3" << STANDIN
#!/usr/bin/env bash
echo "smollm3 \$*" >> "$work/calls"
trap 'exit 130' USR1
echo "\$\$" > "$work/started"
for _ in \$(seq "\${TENTHS:-0}"); do sleep 0.1; done
exit "\${ENDS:-0}"
STANDIN
# shard SIGNAL VARIABLES…: as job above, for the third of 64 shards.
shard() {
  local signal=$1
  shift
  rm -f "$work/calls" "$work/started"
  code=0
  env SLURM_JOB_ID=7 SLURM_ARRAY_TASK_ID=3 SLURM_CPUS_PER_TASK=16 "$@" \
    bash scripts/slurm/tokenize.sbatch 64 /out "a b.jsonl" --tokenizer t.json > "$work/log" 2>&1 &
  local script=$!
  until [ -s "$work/started" ]; do sleep 0.05; done
  [ "$signal" = none ] || kill "-$signal" "$script"
  wait "$script" || code=$?
}
called="smollm3 data tokenize a b.jsonl --tokenizer t.json --out /out/shards/3 --shard 3/64 --threads 16"
shard none ENDS=0
verdict "a shard that ends well" equal "0 $called" "$code $(cat "$work/calls")"
shard none ENDS=1
verdict "a shard that fails" equal "1 $called" "$code $(cat "$work/calls")"
shard USR1 TENTHS=100
verdict "a shard whose time is up is put back" equal "130 $called
scontrol requeue 7" "$code $(cat "$work/calls")"
shard TERM TENTHS=100 STATE=COMPLETING
verdict "a shard that is cancelled is not" equal "130 $called" "$code $(cat "$work/calls")"
verdict "refused: a shard outside of an array" bash -c \
  '! env -u SLURM_ARRAY_TASK_ID bash scripts/slurm/tokenize.sbatch 64 /out in.jsonl 2> /dev/null'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

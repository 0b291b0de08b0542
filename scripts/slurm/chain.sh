#!/usr/bin/env bash
# Submits the stages of a recipe as a chain of jobs, each after the one before has ended well:
#
#   scripts/slurm/chain.sh recipes/smollm3-3b --dry-run        # only shows the commands
#   scripts/slurm/chain.sh recipes/smollm3-3b --from mid-train --with sft --nodes=4 -- --partition=gpu --account=me
#
# --from and --until take names of stages. `--with STAGE OPTION` for one stage, and what follows `--` for all, goes to
# sbatch, where it takes the place of what KIND.sbatch says. A job whose predecessor failed is taken out of the queue.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
  echo "chain.sh: $*" >&2
  exit 2
}

recipe=
dry_run=
from=
until=
with=()
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry_run=1 ;;
    --from | --until)
      [ $# -ge 2 ] || fail "$1 needs a stage"
      [ "$1" = --from ] && from=$2 || until=$2
      shift
      ;;
    --with)
      [ $# -ge 3 ] || fail "--with needs a stage and an option for sbatch"
      with+=("$2" "$3")
      shift 2
      ;;
    --)
      shift
      break
      ;;
    -*) fail "does not know $1; options for sbatch come after --" ;;
    *)
      [ -z "$recipe" ] || fail "one recipe at a time, not \"$recipe\" and \"$1\""
      recipe=$1
      ;;
  esac
  shift
done
[ -n "$recipe" ] || fail "which recipe? chain.sh RECIPE [--dry-run] [--from STAGE] [--until STAGE] [--with STAGE OPTION]… [-- SBATCH OPTIONS]"
file=$recipe
[ ! -d "$recipe" ] || file=$recipe/recipe.toml
[ -f "$file" ] || fail "there is no $file"
recipe=$(realpath "$recipe")

# NAME KIND of each [[stage]], in order. `smollm3 plan` reads the recipe in full; this wants two of its keys only.
stages=$(awk '
  function flush() { if (in_stage) print name ? name : "?", kind ? kind : "?"; in_stage = 0 }
  /^[ \t]*\[\[stage\]\]/ { flush(); in_stage = 1; here = 1; name = kind = ""; next }
  /^[ \t]*\[/ { here = 0 }
  here && match($0, /^[ \t]*(name|kind)[ \t]*=[ \t]*"[^"]*"/) {
    split(substr($0, RSTART, RLENGTH), part, "\"")
    if (part[1] ~ /name/) name = part[2]; else kind = part[2]
  }
  END { flush() }' "$file")
[ -n "$stages" ] || fail "$file has no [[stage]]"

cd "$home"
names=$(cut -d' ' -f1 <<< "$stages")
has() { grep -qxF -- "$1" <<< "$names" || fail "$file has no stage \"$1\"; it has ${names//$'\n'/, }"; }
[ -z "$from" ] || has "$from"
[ -z "$until" ] || has "$until"
for ((i = 0; i < ${#with[@]}; i += 2)); do has "${with[i]}"; done
while read -r name kind; do
  [ "$name" != "?" ] || fail "$file: a stage of kind $kind has no name in a line of its own"
  [ -f "scripts/slurm/$kind.sbatch" ] || fail "stage $name is of kind \"$kind\", for which there is no scripts/slurm/$kind.sbatch"
done <<< "$stages"

before=
wanted=$([ -n "$from" ] || echo 1)
while read -r name kind; do
  [ "$name" != "$from" ] || wanted=1
  if [ -z "$wanted" ]; then
    [ "$name" != "$until" ] || fail "--until $until comes before --from $from"
    continue
  fi
  command=(sbatch --parsable "--job-name=$name")
  [ -z "$before" ] || command+=("--dependency=afterok:$before" --kill-on-invalid-dep=yes)
  command+=("$@")
  for ((i = 0; i < ${#with[@]}; i += 2)); do
    [ "${with[i]}" != "$name" ] || command+=("${with[i + 1]}")
  done
  command+=("scripts/slurm/$kind.sbatch" "$recipe" "$name")
  if [ -n "$dry_run" ]; then
    printf '%q ' "${command[@]}" | sed 's/ $/\n/'
    before="ID-OF-$name"
  else
    # A cluster's name may follow the number.
    before=$("${command[@]}" < /dev/null | cut -d';' -f1)
    [[ "$before" =~ ^[0-9]+$ ]] || fail "sbatch did not take $name"
    echo "$name: job $before"
  fi
  [ "$name" != "$until" ] || break
done <<< "$stages"

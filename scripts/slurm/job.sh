# shellcheck shell=bash
# What the job scripts beside this share: one stage of a recipe as a job step, `source job.sh RECIPE STAGE`.
#
# Ranks that are asked to stop save and exit with 130, and the job goes back into the queue under its number, so that jobs
# that wait for it go on waiting. They are asked shortly before the job's time is up, when Slurm sends SIGUSR1 to this
# script (`--signal=B:USR1@300`), which passes it on; and when the job is preempted, when Slurm sends them SIGTERM. Slurm
# puts a preempted job back only if it has to be killed, not if it ends by itself. `scancel` sends SIGTERM too, but
# by then the job counts as no longer running, and stays out.
#
# SMOLLM3 is the program (smollm3 when unset), SMOLLM3_OPTIONS what it is told besides, e.g. --rank-timeout 120.
set -euo pipefail

recipe=${1:?usage: sbatch KIND.sbatch RECIPE STAGE}
stage=${2:?usage: sbatch KIND.sbatch RECIPE STAGE}
step=

# shellcheck disable=SC2317 # called by the trap
pass_on() { [ -z "$step" ] || kill -USR1 "$step"; }
trap pass_on USR1
# The script outlives the ranks, which are sent it too.
trap : TERM

export SLURM_MPI_TYPE="${SLURM_MPI_TYPE:-pmix}"
# From Slurm 22.05 on, srun takes this from the job only if it is called so.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
echo "$(date --iso-8601=seconds) $stage of $recipe, attempt $((${SLURM_RESTART_COUNT:-0} + 1)), ${SLURM_NTASKS:-1} ranks"
read -ra options <<< "${SMOLLM3_OPTIONS:-}"
srun --kill-on-bad-exit=1 "${SMOLLM3:-smollm3}" run "$recipe" --from "$stage" --until "$stage" "${options[@]}" &
step=$!

# A signal ends `wait`, but not the step.
while :; do
  code=0
  wait "$step" || code=$?
  kill -0 "$step" 2> /dev/null || break
done
echo "$(date --iso-8601=seconds) $stage ended with exit code $code"
# 138: ended by SIGUSR1 itself, before the ranks listened to it; the last checkpoint is as good.
if [ "$code" -eq 130 ] || [ "$code" -eq 138 ]; then
  if [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$code"

#!/usr/bin/env bash
# Everything that this project measures on one CUDA card, in one call: first that the fused operations equal their plain
# bodies there, then steps of the 3B model at 4k, 32k and 64k, and beside the first of them transformers. One JSON:
#
#   scripts/bench/gpu.sh target/release/smollm3 target/release/deps/fused-<hash> gpu.json
#
# The second file is the kernels' test `fused` (`cargo test --release --features tch --test fused --no-run`). LibTorch
# must be found (LD_LIBRARY_PATH), and `nvidia-smi`; python3 with torch and transformers for the comparison.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
binary=${1:?the smollm3 binary} tests=${2:?the test binary} out=${3:?where the JSON goes}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs a command; its standard output, exit status and the most memory in use on the card go into $work/NAME.*
measure() {
  local name=$1; shift
  echo "== $name" >&2
  nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=200 > "$work/$name.memory" &
  local sampler=$!
  timeout 240 "$@" > "$work/$name.out" 2> "$work/$name.err"
  echo $? > "$work/$name.status"
  kill "$sampler" && wait "$sampler" 2> /dev/null
  tail -n 3 "$work/$name.err" >&2
}

step() { # NAME LENGTH DOCUMENTS ROWS [option...]
  local name=$1 length=$2 documents=$3 rows=$4; shift 4
  measure "$name" "$binary" bench step --config configs/smollm3-3b.toml --backend tch --device cuda --precision bf16 \
    --sequence-length "$length" --documents "$documents" --micro-batch "$rows" --steps 5 --json "$@"
}

SMOLLM3_TEST_DEVICE=tch:cuda measure parity "$tests"
step step-4k 4096 4 1
step step-4k-two-rows 4096 4 2 --recompute
step step-32k 32768 8 1 --recompute
step step-64k 65536 8 1 --recompute
measure transformers-4k python3 scripts/bench/step_vs_transformers.py --config configs/smollm3-3b.toml --binary "$binary" \
  --device cuda --precision bf16 --sequence-length 4096 --micro-batch 1 --documents 4 --pairs 1 --no-compile

python3 - "$work" "$out" <<'PYTHON'
import json, pathlib, subprocess, sys, datetime
work, out = map(pathlib.Path, sys.argv[1:])
card = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                      capture_output=True, text=True).stdout.strip()
result = {"date": datetime.date.today().isoformat(), "card": card}
for status in sorted(work.glob("*.status")):
    name = status.stem
    text = (work / f"{name}.out").read_text()
    used = [int(line) for line in (work / f"{name}.memory").read_text().split() if line.isdigit()]
    try:
        found = json.loads(text)
    except ValueError:
        found = (text + (work / f"{name}.err").read_text())[-2000:]
    result[name] = {"status": int(status.read_text()), "card_peak_megabytes": max(used, default=None), "found": found}
out.write_text(json.dumps(result, indent=2) + "\n")
PYTHON

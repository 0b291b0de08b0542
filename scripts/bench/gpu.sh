#!/usr/bin/env bash
# Everything that this project measures on one CUDA card, in one call of 8 minutes at most (gpu.py says what):
#
#   scripts/bench/gpu.sh --binary target/release/smollm3 --tests target/release/deps/card-<hash> --out gpu.json
#
# The second is built by `cargo test --release --features tch,nccl --test card --no-run`. The card's machine needs neither
# cargo nor a network, but python3; LibTorch and NCCL are those of its torch, if LD_LIBRARY_PATH names no others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

of_python=$(python3 - <<'PYTHON'
import glob, importlib.util, os
found = importlib.util.find_spec("torch")
if found:
    torch = os.path.dirname(found.origin)
    print(":".join([f"{torch}/lib", *sorted(glob.glob(f"{os.path.dirname(torch)}/nvidia/*/lib"))]))
PYTHON
)
libraries=${LD_LIBRARY_PATH:-}${of_python:+:$of_python}
export LD_LIBRARY_PATH="${libraries#:}"
exec python3 scripts/bench/gpu.py "$@"

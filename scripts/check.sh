#!/usr/bin/env bash
# Everything that CI checks, in the order in which it is cheapest to find out.
# One target folder a feature set, so that switching between them rebuilds nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step cargo test --workspace
step scripts/demo-short.sh

# The same tests and lints with LibTorch beside flex.
eval "$(scripts/libtorch.sh)"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}-tch"
step cargo clippy --workspace --all-targets --features tch -- -D warnings
step cargo test --workspace --features tch

#!/usr/bin/env bash
# What CI checks, in the order in which it is cheapest to find out: `scripts/check.sh`, and with `--tch` the lints and
# tests with LibTorch beside flex as well. One target folder a feature set, so that switching rebuilds nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step cargo test --workspace
step scripts/demo-short.sh

if [ "${1:-}" = --tch ]; then
  eval "$(scripts/libtorch.sh)"
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}-tch"
  step cargo clippy --workspace --all-targets --features tch -- -D warnings
  step cargo test --workspace --features tch
fi

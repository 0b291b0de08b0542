#!/usr/bin/env bash
# What CI checks, in the order in which it is cheapest to find out. With `--tch` also the lints and tests with LibTorch
# beside flex, where LibTorch can be had (see scripts/libtorch.sh); where it cannot, that is said and not hidden.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step cargo test --workspace
# The same numbers with every fused operation switched off; that recomputation changes no bit is true of the fused ones
# only, whose gradients are summed in one order.
step env SMOLLM3_PLAIN_KERNELS=1 cargo test --workspace --test step --test resume --test parity -- \
  --skip recomputed_layers_give_the_same_bits
step scripts/demo-short.sh
step scripts/test-slurm.sh

if [ "${1:-}" = --tch ]; then
  if exports=$(scripts/libtorch.sh); then
    eval "$exports"
    step cargo clippy --workspace --all-targets --features tch,nccl -- -D warnings
    step cargo test --workspace --features tch,nccl
    # What is to run on a GPU once one is at hand, on the CPU in small shapes: nothing in it may be misspelt.
    # Cargo names the test program by its path; the command, built by the tests just now, lies one folder above it.
    # `-a`, because a log that is a file must not be emptied.
    card=$(cargo test --workspace --features tch,nccl --test card --no-run 2>&1 | tee -a /dev/stderr |
      sed -n 's/.*Executable.* (\(.*\/card-[^)]*\)).*/\1/p')
    step scripts/bench/gpu.sh --dry-run --binary "${card%/deps/*}/smollm3" --tests "$card" --out "$(mktemp)"
  else
    printf '\n== NOT CHECKED: the tch backend, because LibTorch could not be fetched\n'
  fi
fi

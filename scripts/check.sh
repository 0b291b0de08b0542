#!/usr/bin/env bash
# What CI checks, in the order in which it is cheapest to find out. With `--tch` the lints and tests run with LibTorch beside
# flex, where LibTorch can be had (see scripts/libtorch.sh); where it cannot, that is said and not hidden. There is one build
# of the tests: that with LibTorch runs those of flex too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

features=()
if [ "${1:-}" = --tch ]; then
  if exports=$(scripts/libtorch.sh); then
    eval "$exports"
    features=(--features tch,nccl)
  else
    printf '\n== NOT CHECKED: the tch backend, because LibTorch could not be fetched\n'
  fi
fi

step cargo fmt --all --check
# As users build it.
step cargo clippy --workspace --all-targets -- -D warnings
[ ${#features[@]} = 0 ] || step cargo clippy --workspace --all-targets "${features[@]}" -- -D warnings
step cargo test --workspace "${features[@]}"
# The same numbers with every fused operation switched off; that recomputation changes no bit is true of the fused ones
# only, whose gradients are summed in one order.
step env SMOLLM3_PLAIN_KERNELS=1 cargo test --workspace "${features[@]}" --test step --test resume --test parity -- \
  --skip recomputed_layers_give_the_same_bits

# Cargo names the test program by its path; the command, built by the tests just now, lies one folder above it.
# `-a`, because a log that is a file must not be emptied.
card=$(cargo test --workspace "${features[@]}" --test card --no-run 2>&1 | tee -a /dev/stderr |
  sed -n 's/.*Executable.* (\(.*\/card-[^)]*\)).*/\1/p')
smollm3=${card%/deps/*}/smollm3
step scripts/demo-short.sh "$smollm3"
step scripts/test-slurm.sh
if [ ${#features[@]} != 0 ]; then
  # What is to run on a GPU once one is at hand, on the CPU in small shapes: nothing in it may be misspelt.
  step scripts/bench/gpu.sh --dry-run --binary "$smollm3" --tests "$card" --out "$(mktemp)"
fi

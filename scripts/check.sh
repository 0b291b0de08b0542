#!/usr/bin/env bash
# What CI checks, in the order in which it is cheapest to find out. `--tch` and `--wgpu` add tests on these backends to those on
# flex, where LibTorch (scripts/libtorch.sh) and a Vulkan driver (scripts/vulkan.sh) can be had; where they cannot, that is said
# and not hidden, and the code for `wgpu` is linted all the same. There is one build of the tests, with all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

backends=flex unchecked=()
for argument; do
  case $argument in
    --tch)
      if exports=$(scripts/libtorch.sh); then
        eval "$exports"
        backends+=,tch,nccl
      else
        unchecked+=("the tch backend, because LibTorch could not be fetched")
      fi ;;
    --wgpu)
      if exports=$(scripts/vulkan.sh); then
        eval "$exports"
        backends+=,wgpu
      else
        unchecked+=("the wgpu backend, because no Vulkan driver could be installed")
      fi ;;
    *) echo "check.sh: unknown argument $argument" >&2; exit 2 ;;
  esac
done

step cargo fmt --all --check
# As users build it.
step cargo clippy --workspace --all-targets -- -D warnings
step cargo clippy --workspace --all-targets --features "${backends%,wgpu},wgpu" -- -D warnings
step cargo test --workspace --features "$backends"
# The same numbers with every fused operation switched off; that recomputation changes no bit is true of the fused ones
# only, whose gradients are summed in one order. Not on wgpu, which has none.
for device in ${backends//,/ }; do
  case $device in nccl | wgpu) continue ;; esac
  step env SMOLLM3_PLAIN_KERNELS=1 SMOLLM3_TEST_DEVICE="$device" cargo test --workspace --features "$backends" \
    --test step --test resume --test parity -- --skip recomputed_layers_give_the_same_bits
done

# Cargo names the test program by its path; the command, built by the tests just now, lies one folder above it.
# `-a`, because a log that is a file must not be emptied.
card=$(cargo test --workspace --features "$backends" --test card --no-run 2>&1 | tee -a /dev/stderr |
  sed -n 's/.*Executable.* (\(.*\/card-[^)]*\)).*/\1/p')
smollm3=${card%/deps/*}/smollm3
step scripts/demo-short.sh flex "$smollm3"
case ",$backends," in *,wgpu,*) step scripts/demo-short.sh wgpu "$smollm3" ;; esac
step scripts/test-slurm.sh
# What is to run on a GPU once one is at hand, on the CPU in small shapes: nothing in it may be misspelt.
case ",$backends," in *,tch,*) step scripts/bench/gpu.sh --dry-run --binary "$smollm3" --tests "$card" --out "$(mktemp)" ;; esac
for what in ${unchecked[@]+"${unchecked[@]}"}; do printf '\n== NOT CHECKED: %s\n' "$what"; done

#!/usr/bin/env bash
# Puts LibTorch 2.9.0 (what tch 0.22 wants) into .libtorch/ and prints the exports that a build needs:
#
#   eval "$(scripts/libtorch.sh)"            # CPU, about 430 MB on disk
#   eval "$(scripts/libtorch.sh --cuda)"     # with the CUDA 12.8 libraries, about 7 GB
#   cargo run --release --features tch -- run recipes/demo --backend tch
#
# The library is the one inside PyPI's torch wheel; only pip is needed. With a PyTorch of your own, set
# LIBTORCH_USE_PYTORCH=1 instead; with an unpacked LibTorch, LIBTORCH=<folder>. Another version than 2.9 also needs
# LIBTORCH_BYPASS_VERSION_CHECK=1 (2.11 is known to build).
set -euo pipefail

version=2.9.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kind=cpu
case "${1:-}" in
  "") ;;
  --cuda) kind=cuda ;;
  *) echo "usage: scripts/libtorch.sh [--cuda]" >&2; exit 2 ;;
esac
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) ;;
  *) echo "libtorch.sh: wheels are laid out this way on Linux x86-64 only; elsewhere install PyTorch $version and set LIBTORCH_USE_PYTORCH=1" >&2; exit 1 ;;
esac

target="$root/.libtorch/$kind-$version"
if [ ! -e "$target/.complete" ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/libtorch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  wheels=(--no-deps "torch==$version")
  unpack() { # NAME-PATTERN: unzip the wheels that match
    for wheel in "$work"/wheels/$1; do python3 -m zipfile -e "$wheel" "$work/unpacked"; done
  }
  download() { python3 -m pip download --quiet --disable-pip-version-check --dest "$work/wheels" "$@" >&2; }
  echo "libtorch.sh: fetching torch $version ($kind) from PyPI" >&2
  download "${wheels[@]}"
  if [ "$kind" = cuda ]; then
    python3 -m pip install --quiet --disable-pip-version-check --target "$work/unpacked" "$work"/wheels/torch-*.whl >&2
  else
    # libtorch_cpu.so of a CUDA wheel is linked against these two small libraries.
    download --no-deps nvidia-cuda-runtime-cu12==12.8.90 nvidia-cuda-cupti-cu12==12.8.90
    unpack '*.whl'
  fi
  torch="$work/unpacked/torch"
  rm -rf "$target" && mkdir -p "$target/lib"
  cp -r "$torch/include" "$target/include"
  if [ "$kind" = cuda ]; then
    cp "$torch"/lib/*.so* "$target/lib/"
    find "$work/unpacked/nvidia" -name '*.so*' -exec cp {} "$target/lib/" \;
  else
    cp "$torch"/lib/libtorch_cpu.so "$torch"/lib/libc10.so "$torch"/lib/libgomp* "$target/lib/"
    find "$work/unpacked/nvidia" \( -name 'libcudart.so*' -o -name 'libcupti.so*' \) -exec cp {} "$target/lib/" \;
    # The wheel's own libtorch.so would pull in the CUDA half.
    echo 'INPUT(-ltorch_cpu)' > "$target/lib/libtorch.so"
  fi
  echo "$version" > "$target/build-version"
  touch "$target/.complete"
fi

echo "export LIBTORCH='$target'"
echo "export LD_LIBRARY_PATH='$target/lib'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"

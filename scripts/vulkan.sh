#!/usr/bin/env bash
# Sees to it that the backend wgpu has something to compute on and prints the exports that it needs: a Vulkan driver of
# the machine, or else Mesa's driver in software, installed with apt where that is allowed.
#
#   eval "$(scripts/vulkan.sh)"
#   cargo run --release --features wgpu -- run recipes/demo --backend wgpu
#
# A machine with a GPU and its vendor's driver needs none of this.
set -euo pipefail

has_driver() { compgen -G '/usr/share/vulkan/icd.d/*.json' > /dev/null || compgen -G '/etc/vulkan/icd.d/*.json' > /dev/null; }

if ! has_driver; then
  echo "vulkan.sh: no Vulkan driver; installing Mesa's" >&2
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
    mesa-vulkan-drivers libvulkan1 >&2
  has_driver
fi

# Mesa wants a folder of the user's own, mode 0700.
runtime=${XDG_RUNTIME_DIR:-}
if [ -z "$runtime" ] || [ ! -d "$runtime" ]; then
  runtime="${TMPDIR:-/tmp}/runtime-$(id -u)"
  mkdir -p "$runtime"
  chmod 700 "$runtime"
fi
echo "export XDG_RUNTIME_DIR='$runtime'"

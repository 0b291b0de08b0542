#!/usr/bin/env bash
# Reads files with random changes for SECONDS (300), and runs every command on some for as long: nothing may panic.
# Another SEED gives other changes: scripts/verify/mutation.sh [SECONDS [SEED]]
set -euo pipefail
cd "$(dirname "$0")/../.."
SMOLLM3_MUTATION_SECONDS=${1:-300} SMOLLM3_MUTATION_SEED=${2:-1} cargo test --workspace --test mutation -- --nocapture

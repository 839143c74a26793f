#!/usr/bin/env bash
# Checks and times what runs on a GPU, and prints a table. Needs no network and no Rust: Python with PyTorch 2.11 (CUDA 13), and the
# bundle that scripts/gpu-pack.sh makes. Without a GPU, `--device cpu --quick` runs the same steps small.
#
#   scripts/gpu-check.sh --bundle .gpu --output RESULTS [--minutes 10] [--steps device,train,search,losses,memory,encode,pipeline]
#   scripts/gpu-check.sh --device cpu --quick --output RESULTS
#
# Each step has a time limit and ends with a line of its own. RESULTS holds results.json, logs.tar.gz and
# pipeline-metrics.jsonl. Exit code 1 when a check failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python3}" -u scripts/gpu/check.py "$@"

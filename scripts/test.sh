#!/usr/bin/env bash
# Every test of the workspace and of the Python package, then a count. Tests that lack something they need (a collection, a model) print
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
python_log=$(mktemp)
trap 'rm -f "$log" "$python_log"' EXIT
scripts/python-test.sh 2>&1 | tee "$python_log"
python_status=${PIPESTATUS[0]}

count() { awk -v want="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" want) total += $(i - 1) } END { print total + 0 }' "$log"; }
# A test may say more than once why it cannot run.
skipped=$(awk '/^---- .* stdout ----$/ { said = 0 } /^skipped: / && !said { said = 1; total += 1 } END { print total + 0 }' "$log")
passed=$(($(count passed) - skipped))
failed=$(count failed)
ignored=$(count ignored)
# pytest's last line: `2 failed, 70 passed, 1 skipped in 9.87s`.
python_count() { tail -n 1 "$python_log" | grep -oE "[0-9]+ $1" | grep -oE '[0-9]+' || echo 0; }
passed=$((passed + $(python_count passed)))
failed=$((failed + $(python_count failed) + $(python_count error)))
skipped=$((skipped + $(python_count skipped)))
if [ "$python_status" -ne 0 ] && [ "$(python_count failed)$(python_count error)" = 00 ]; then
  echo "FAILED the Python package could not be built, installed or tested" >>"$python_log"
  failed=$((failed + 1))
fi

echo
if [ "$failed" -gt 0 ]; then echo "Failed:"; { grep -E '^test .* FAILED$' "$log"; grep -E '^(FAILED|ERROR) ' "$python_log"; } | sed 's/^/  /'; fi
if [ "$skipped" -gt 0 ]; then echo "Skipped:"; { grep '^skipped: ' "$log"; grep '^SKIPPED ' "$python_log"; } | sort | uniq -c | sed 's/^/  /'; fi
[ "$ignored" -gt 0 ] && skipped=$((skipped + ignored))
echo "took $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$status" -eq 0 ] && [ "$python_status" -eq 0 ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

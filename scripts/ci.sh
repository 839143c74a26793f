#!/usr/bin/env bash
# All that continuous integration checks, in the order of what fails soonest; says at the end how long each took.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

took=(); failed=()
for target in lint circles docs features deny api packages test; do
  started=$SECONDS
  make --no-print-directory "$target" || failed+=("$target")
  took+=("$(printf '%-9s %3d min %02d s' "$target" $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)))")
done
printf '\n'
printf '%s\n' "${took[@]}"
printf 'all       %3d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }

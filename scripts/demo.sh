#!/usr/bin/env bash
# The whole path on BEIR SciFact: trains a student by labels and by a fused teacher, indexes the corpus with text and vectors, evaluates,
# asks three questions. Called by `make demo`, which sets up first. Training
# begins as soon as adam-train is built; adam is built beside it, at the lowest priority. What an earlier run finished is reused.
#
#   DEMO_DIR    where everything goes (runs/demo)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
data=$(scripts/collection.sh)
if [ "$(basename "$data")" = scifact ]; then
  name="BEIR SciFact"; configuration=trainer/configs/scifact.toml
  questions=("does vitamin D protect against infections of the airways?"
             "how do tumours escape the immune system?"
             "do people with less sleep gain more weight?")
else
  name="the small collection that ships with the project"; configuration=trainer/configs/pocket.toml
  questions=("why does glass have no crystals?" "how do bees find flowers?" "what makes bread rise?")
fi
work="${DEMO_DIR:-runs/demo}/$(basename "$data")"
mkdir -p "$work"
record="$work/stages.jsonl"
: > "$record"

cargo build --release --locked -p adam-train --bins
nice -n 19 cargo build --release --locked -p adam-cli --bins > "$work/build.log" 2>&1 &
build=$!
trap 'kill "$build" 2>/dev/null || true' EXIT

stage() { # stage NAME COMMAND...: says what it does, runs it, keeps its time and peak memory
  local title="$1"; shift
  printf '\n== %s\n' "$title" >&2
  "$python" scripts/measured.py "$record" "$title" "$@"
}
train() { target/release/adam-train "$1" "$configuration" --data "$data" --work "$work/train" >&2; }
export -f train; export configuration data work

for name_of_stage in warm-up mine score distil export eval; do
  case $name_of_stage in
    warm-up) title="baseline, contrastive training" ;;
    mine) title="mining" ;;
    score) title="the teacher on held-out queries" ;;
    distil) title="distilling the student" ;;
    export) title="exporting ONNX" ;;
    eval) title="judging the student" ;;
  esac
  stage "$title" bash -c 'train "$0"' "$name_of_stage"
done
# All is done; what it says of the whole is wanted, and of its progress only what explains a failure.
verdict=$(target/release/adam-train run "$configuration" --data "$data" --work "$work/train" 2> "$work/run.log" | tail -1) ||
  { cat "$work/run.log" >&2; exit 1; }

wait "$build" || { cat "$work/build.log" >&2; exit 1; }
trap - EXIT

stage "indexing text and vectors" target/release/adam index --model "$work/train/student" --data "$data" \
  --index "$work/index" --vectors "$work/train/after/passages.npy"
stage "evaluating" target/release/adam eval --index "$work/index" --data "$data" --split test --mode bm25,dense,hybrid \
  --compare "dense before training=$work/train/before/test.run" --json "$work/eval.json" > "$work/table.txt"

printf '\n%s, test queries\n\n' "$name"
cat "$work/table.txt"
printf '\n%s\n\n' "$verdict"
"$python" scripts/measured.py --table "$record"
for question in "${questions[@]}"; do
  printf '\n'
  target/release/adam search --index "$work/index" --mode hybrid --top 3 "$question"
done

#!/usr/bin/env bash
# Prints the folder of the collection that the demo uses, in BEIR layout: BEIR SciFact, else the small one that ships with the
# project.
#
# SciFact is looked for in ADAM_DATA, ../shared/data and the cache (as `scifact/` or `scifact.zip`), then downloaded
# from BEIR's own site. Whatever its source, its files must have the SHA-256 pinned below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=$(realpath -m "${ADAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/adam}/data")
source_url="https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/scifact.zip"
python="${PYTHON:-python3}"
say() { printf 'collection: %s\n' "$*" >&2; }

verified() {
  (cd "$1" && sha256sum --quiet --check - >/dev/null 2>&1) <<'SHA'
db795900e20d508cc203164cced56237f54adf7b366c2a75778106d3d2328467  corpus.jsonl
90af8c425d13ebd619fb26f8da4cd46c8aa261e5122ae997fce08f858bef3122  queries.jsonl
68c0ac63f1c24b9e8ce497649694f09b2d0850bab7ec2b103cc66996f5f8b3a3  qrels/test.tsv
ac0902d9b1cb717df182aaff1306175877fdb8f55bb5c3e8597ad694fc8e539f  qrels/train.tsv
SHA
}

# unpack ZIP: into the cache, under its final name only once its hashes are right.
unpack() {
  local fresh; mkdir -p "$cache"; fresh=$(mktemp -d "$cache/.fresh.XXXXXX")
  if "$python" -m zipfile -e "$1" "$fresh" 2>/dev/null && verified "$fresh/scifact"; then
    rm -rf "$cache/scifact"; mv "$fresh/scifact" "$cache/scifact"; rm -rf "$fresh"; return 0
  fi
  rm -rf "$fresh"; say "$1 is not the SciFact that this project pins (SHA-256 differs), so it is not used"; return 1
}

for folder in ${ADAM_DATA:+"$ADAM_DATA/scifact"} ../shared/data/scifact "$cache/scifact"; do
  if [ -d "$folder" ] && verified "$folder"; then (cd "$folder" && pwd); exit 0; fi
done
for archive in ${ADAM_DATA:+"$ADAM_DATA/scifact.zip"} ../shared/data/scifact.zip; do
  if [ -f "$archive" ] && unpack "$archive"; then printf '%s\n' "$cache/scifact"; exit 0; fi
done
say "SciFact is not at hand; downloading it from $source_url"
mkdir -p "$cache"
trap 'rm -f "$cache/scifact.zip.part"' EXIT
if "$python" - "$source_url" "$cache/scifact.zip.part" <<'PY' && unpack "$cache/scifact.zip.part"
import shutil, sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=30) as answer, open(sys.argv[2], "wb") as out:
        shutil.copyfileobj(answer, out)
except OSError as error:
    sys.exit(f"collection: the download failed: {error}")
PY
then printf '%s\n' "$cache/scifact"; exit 0; fi
say "SciFact cannot be had here: taking the small collection that ships with the project (60 passages)."
say "Its figures say that the pipeline runs, nothing about quality. Put scifact.zip in a folder and name it by ADAM_DATA."
(cd examples/data/pocket && pwd)

#!/usr/bin/env bash
# Packs what scripts/gpu-check.sh wants on a machine with a GPU and without Rust or network: the programs, the libraries that
# machine lacks, MiniLM's weights in 16 bits, and a collection.
#
#   make build && cargo build --release --locked --workspace --examples
#   scripts/cuda-build.sh && scripts/cuda-build.sh test --test device --no-run
#   scripts/gpu-pack.sh --data medquad.zip          writes .gpu/, at most 63 MB, and prints what is in it; --wheel FILE, repeatable, adds
#                                                   a Python package: datasets, dill and multiprocess, which sentence-transformers trains with
#   scripts/gpu-pack.sh --onnxruntime WHEEL         writes .gpu-onnxruntime/, ONNX Runtime with CUDA for --architecture (90: H100, H200)
#                                                   and no other, from the wheel of onnxruntime-gpu, for the step `encode`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=
data=
wheel=
packages=()
architecture=90
model=.native/all-MiniLM-L6-v2
limit_mb=63
while [ $# -gt 0 ]; do
  case $1 in
    --*) [ $# -ge 2 ] || [ "$1" = --help ] || { echo "gpu-pack: error: $1 wants a value" >&2; exit 2; } ;;&
    --output) output=$2; shift 2 ;;
    --data) data=$2; shift 2 ;;
    --model) model=$2; shift 2 ;;
    --wheel) packages+=("$2"); shift 2 ;;
    --onnxruntime) wheel=$2; shift 2 ;;
    --architecture) architecture=$2; shift 2 ;;
    --limit-mb) limit_mb=$2; shift 2 ;;
    -h|--help) sed -n '2,10p' "$0"; exit 0 ;;
    *) echo "gpu-pack: error: unknown argument $1" >&2; exit 2 ;;
  esac
done
fail() { printf 'gpu-pack: error: %s\n' "$*" >&2; exit 1; }
size() { du -cb "$output"/* | tail -n 1 | cut -f1; }
report() {
  du -b "$output"/* | awk '{printf "gpu-pack: %8.1f MB  %s\n", $1 / 1e6, $2}'
  [ "$(size)" -le $((limit_mb * 1000000)) ] || fail "$(size) bytes are more than $limit_mb MB"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -n "$wheel" ]; then
  [ -f "$wheel" ] || fail "there is no wheel $wheel; pip download --no-deps onnxruntime-gpu==1.31.1 fetches it"
  output=${output:-.gpu-onnxruntime}
  mkdir -p "$work/lib" "$output"
  unzip -q -j "$wheel" 'onnxruntime/capi/libonnxruntime.so*' 'onnxruntime/capi/libonnxruntime_providers_*.so' -d "$work/wheel" ||
    fail "$wheel holds no ONNX Runtime"
  [ -f "$work/wheel/libonnxruntime_providers_cuda.so" ] || fail "$wheel has no CUDA provider; the package is onnxruntime-gpu"
  mv "$work"/wheel/libonnxruntime.so* "$work/lib/libonnxruntime.so"
  mv "$work/wheel/libonnxruntime_providers_shared.so" "$work/lib/"
  python3 scripts/gpu/slim.py "$architecture" "$work/wheel/libonnxruntime_providers_cuda.so" "$work/lib/libonnxruntime_providers_cuda.so"
  tar -C "$work" -cf - lib | xz -T0 --lzma2=preset=6,dict=64MiB > "$output/onnxruntime.tar.xz"
  report
  echo "gpu-pack: there: scripts/gpu-check.sh --bundle .gpu --bundle $output --steps encode"
  exit
fi

output=${output:-.gpu}
[ -f "$data" ] || fail "name a collection: --data medquad.zip"
[ -f target/release/adam-train ] || fail "target/release/adam-train is not there; run make build"
[ -f "$model/model.safetensors" ] || fail "$model holds no model.safetensors"

mkdir -p "$work/bin" "$work/lib" "$output"

# One archive for all programs: they share most of their code.
programs=(target/release/adam-train)
for name in examples/gpu_bench examples/vectors; do
  # As scripts/cuda-build.sh builds them, with CUDA inside, where that was done.
  for program in "target/cuda/release/$name" "target/release/$name"; do
    if [ -f "$program" ]; then programs+=("$program"); break; fi
  done
done
for program in "${programs[@]}"; do
  cp "$program" "$work/bin/"
  strip "$work/bin/$(basename "$program")"
done
# The tests of searches on a device, if they were built: scripts/cuda-build.sh test --test device --no-run
tests=$(find target/cuda/release/deps -maxdepth 1 -name 'device-*' -executable -type f -printf '%T@ %p\n' 2>/dev/null | sort -rn | head -n 1 | cut -d' ' -f2) || true
if [ -n "$tests" ]; then
  cp "$tests" "$work/bin/device"
  strip "$work/bin/device"
fi
# Libraries that are neither the system's nor in PyTorch's package.
for library in $(ldd "${programs[@]}" | awk '$2 == "=>" {print $1 "=" $3}' | sort -u); do
  name=${library%%=*} path=${library#*=}
  case $name in
    libblas.so*|liblapack.so*|libopenblas.so*|libgfortran.so*|libquadmath.so*)
      cp -L "$path" "$work/lib/$name"
      strip --strip-unneeded "$work/lib/$name" ;;
  esac
done
tar -C "$work" -cf - bin lib | xz -T0 --lzma2=preset=6,dict=96MiB > "$output/programs.tar.xz"

# The model: f16 weights if all fits so, else bf16, which are packed tighter. Both are read by adam-train and by transformers.
pack_model() {
  mkdir -p "$work/model/1_Pooling"
  for name in config.json tokenizer.json tokenizer_config.json special_tokens_map.json vocab.txt modules.json \
    sentence_bert_config.json config_sentence_transformers.json 1_Pooling/config.json; do
    [ -f "$model/$name" ] && cp "$model/$name" "$work/model/$name"
  done
  python3 scripts/gpu/halve.py "$1" "$model/model.safetensors" "$work/model/model.safetensors"
  # Numbers of two bytes each, of which one says more than the other.
  tar -C "$work" -cf - model | xz -T0 --lzma2=preset=6,lc=0,lp=1,pb=1 > "$output/model.tar.xz"
}
[ "${#packages[@]}" -eq 0 ] || cp "${packages[@]}" "$output/"
unzip -q "$data" -d "$work/collection"
tar -C "$work" -cf - collection | xz -T0 -6 > "$output/collection.tar.xz"
pack_model f16
if [ "$(size)" -gt $((limit_mb * 1000000)) ]; then
  pack_model bf16
fi
report
echo "gpu-pack: there, in the repository's root: scripts/gpu-check.sh --bundle $output --output RESULTS"

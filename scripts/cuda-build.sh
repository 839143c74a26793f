#!/usr/bin/env bash
# Builds the programs that search on a GPU (feature `gpu`), in target/cuda, beside the ordinary build and not in its way. The
# first time it builds faiss with nvcc: 40 to 70 minutes on two cores, five minutes on sixteen. Needs no GPU. Go on after an
# interruption by calling it again: what is compiled stays.
#
#   scripts/cuda-build.sh                          adam and the example gpu_bench, in target/cuda/release
#   scripts/cuda-build.sh test --lib ...           any cargo command and its arguments instead of `build ...`
#
# CUDA_PATH     where CUDA lies; default: .native/cuda, put there by scripts/cuda-setup.sh
# CUDAARCHS     for which GPUs, as cmake names them; default: 90-real (H100, H200). Others: 80-real (A100), 89-real (L4, RTX 40)
#
# The programs load libcudart.so.13 and libcublas.so.13 when they start. Where those are not in the system's path, say
# where they are: LD_LIBRARY_PATH=.native/cuda/lib, or the nvidia/cu13/lib of a Python environment with PyTorch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${CUDA_PATH:-}" ]; then
  scripts/cuda-setup.sh
  CUDA_PATH="$PWD/.native/cuda"
fi
export CUDA_PATH
# faiss-sys hands these to cmake by way of the environment, and tantivy-dense to the crate cc; what lies in $CUDA_PATH/lib64 is
# linked.
export CUDACXX="$CUDA_PATH/bin/nvcc" NVCC="$CUDA_PATH/bin/nvcc" CUDAToolkit_ROOT="$CUDA_PATH" CUDAARCHS="${CUDAARCHS:-90-real}"
command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
[ -x "$CUDACXX" ] || { echo "cuda-build: error: there is no $CUDACXX; set CUDA_PATH, or run scripts/cuda-setup.sh" >&2; exit 1; }
[ -e "$CUDA_PATH/lib64/libcublas.so" ] || {
  echo "cuda-build: error: there is no $CUDA_PATH/lib64/libcublas.so; set CUDA_PATH, or run scripts/cuda-setup.sh" >&2
  exit 1
}
# libcublas names libcublasLt, which the linker looks for but does not link.
flags=CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS
export "$flags=${!flags:-} -C link-arg=-Wl,-rpath-link,$CUDA_PATH/lib64"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/cuda}"

# Neither cmake nor faiss-sys notices that other GPUs are meant: what was built for the ones before is taken away.
for cache in "$CARGO_TARGET_DIR"/release/build/faiss-sys-*/out/build/CMakeCache.txt; do
  [ -f "$cache" ] || continue
  built=$(sed -n 's/^CMAKE_CUDA_ARCHITECTURES:[A-Z]*=//p' "$cache")
  if [ -n "$built" ] && [ "$built" != "$CUDAARCHS" ]; then
    echo "cuda-build: faiss was built for $built and is built anew for $CUDAARCHS" >&2
    cargo clean --release --locked --package faiss-sys
    rm -rf "${cache%/out/build/CMakeCache.txt}"
  fi
done

packages=(--release --locked --package tantivy-dense --package adam-cli --features "tantivy-dense/gpu,adam-cli/gpu")
if [ $# -gt 0 ]; then
  exec cargo "$1" "${packages[@]}" "${@:2}"
fi
cargo build "${packages[@]}" --bin adam --example gpu_bench
echo "cuda-build: $CARGO_TARGET_DIR/release/adam and $CARGO_TARGET_DIR/release/examples/gpu_bench" >&2

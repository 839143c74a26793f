#!/usr/bin/env bash
# Puts CUDA's compiler and the libraries that faiss links in place, for scripts/cuda-build.sh: eight wheels, 590 MB to
# download, 970 MB unpacked, in the cache (ADAM_CACHE, else ~/.cache/adam), linked as `.native/cuda`. Needs neither a GPU nor a
# driver. Where CUDA 13 is installed already, this can be left out: set CUDA_PATH instead.
#
#   scripts/cuda-setup.sh            everything
#   scripts/cuda-setup.sh --check    say whether it is missing, change nothing; exit 1 if it is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check_only=false
case "${1:-}" in
  "") ;;
  --check) check_only=true ;;
  -h|--help) sed -n '2,7p' "$0"; exit 0 ;;
  *) echo "cuda-setup: error: unknown argument $1 (--help tells of them)" >&2; exit 2 ;;
esac

tool=cuda-setup
. scripts/wheels.sh

cuda_version=13.0
make_cuda() {
  local package version sha wheel
  while read -r package version sha; do
    wheel=$(fetch_wheel "$package" "$version" "$sha")
    # All of them unpack into one folder: bin, include, lib, nvvm.
    unpack "$wheel" "$1" nvidia/cu13/ "nvidia/cu13/*"
  done <<'WHEELS'
nvidia-cuda-nvcc 13.0.88 56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-nvvm 13.0.88 c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-crt 13.0.88 2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-cuda-cccl 13.0.85 e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
nvidia-cuda-runtime 13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-profiler-api 13.0.85 73d2671deac833db6686d6fbde4753fa3a3a497d87540fc246f081f375243f66
nvidia-cublas 13.0.2.14 0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c
nvidia-curand 10.4.0.35 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc
WHEELS
  # What linkers look for, and where faiss-sys looks for it.
  local library
  for library in cudart cublas cublasLt curand; do
    (cd "$1/lib" && ln -sf "$(ls lib$library.so.* | head -n 1)" "lib$library.so")
  done
  ln -s lib "$1/lib64"
  chmod +x "$1"/bin/* "$1"/nvvm/bin/*
}

install "cuda-$cuda_version" make_cuda
if $check_only; then $missing && exit 1; say "nothing is missing"; exit 0; fi
link "$cache/cuda-$cuda_version" cuda
say "ready: $(.native/cuda/bin/nvcc --version | grep release)"

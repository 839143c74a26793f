# Functions of setup.sh and cuda-setup.sh: parts of pinned wheels from a Python package index, kept in a cache and linked from
# `.native/`. Sourced with `tool` set to the name that messages begin with, and `check_only` to whether to change nothing.

cache=$(realpath -m "${ADAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/adam}")
python="${PYTHON:-python3}"
missing=false

say()  { printf '%s: %s\n' "$tool" "$*" >&2; }
fail() { printf '%s: error: %s\n' "$tool" "$*" >&2; exit 1; }

# fetch_wheel PACKAGE VERSION SHA256: prints the path of a PyPI wheel whose hash is the pinned one.
fetch_wheel() {
  local package=$1 version=$2 sha=$3 folder="$cache/wheels/$3" wheel
  wheel=$(find "$folder" -name '*.whl' 2>/dev/null | head -n 1)
  if [ -z "$wheel" ]; then
    mkdir -p "$folder"
    say "downloading $package $version"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --implementation cp --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
      --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 --platform any --dest "$folder" "$package==$version" >&2 \
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
    # What is half made goes, however this ends.
    trap "rm -rf '$fresh'" EXIT
    "$make" "$fresh"
    chmod 755 "$fresh"
    # It may be there by now, from another run beside this one.
    mv -T "$fresh" "$final" 2>/dev/null || [ -d "$final" ] || fail "$fresh cannot be moved to $final"
    rm -rf "$fresh"
    say "installed $name"
  fi
}

link() { mkdir -p .native; ln -sfn "$1" ".native/$2"; }

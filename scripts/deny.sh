#!/usr/bin/env bash
# Licences, sources, bans and advisories of all dependencies, by cargo-deny with deny.toml. Installs cargo-deny into target/tools
# where it is not there (about four minutes on two cores). The database of advisories is fetched from GitHub; where that cannot be
# reached, the other three are checked, and a line says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.20.2
tool="${CARGO_TARGET_DIR:-target}/tools/bin/cargo-deny"
if command -v cargo-deny >/dev/null; then tool=$(command -v cargo-deny)
elif [ ! -x "$tool" ]; then
  if ! cargo install --locked --quiet cargo-deny --version $version --root "${CARGO_TARGET_DIR:-target}/tools"; then
    echo "deny: skipped: cargo-deny $version could not be installed" >&2; exit 0
  fi
fi
"$tool" --locked check bans licenses sources
if "$tool" --locked fetch db 2>/dev/null; then "$tool" --locked check advisories
else echo "deny: skipped: advisories, since their database cannot be reached" >&2; fi

#!/bin/sh
# rustdoc with its JSON output, which the stable rustdoc has but gives only when told so. Called by scripts/api.sh in place of rustdoc;
# the compiler itself is not told, so that nothing is compiled anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"

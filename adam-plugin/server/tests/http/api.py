"""Schemathesis on the OpenAPI document of a running server: with and without a key, bounded, on loopback only."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

from served import served


def run(address, examples, seed, extra):
    beside = pathlib.Path(sys.executable).with_name("schemathesis")
    program = beside if beside.is_file() else shutil.which("schemathesis") or sys.exit("schemathesis is not installed: pip install schemathesis")
    command = [program, "run", f"{address}/openapi.json", "--max-examples", str(examples), "--seed", str(seed), "--phases", "examples,coverage,fuzzing,stateful",
               "--checks", "all", "--request-timeout", "30", "--generation-deterministic", "--no-color", *extra]
    hooks = pathlib.Path(__file__).with_name("hooks.py")
    return subprocess.run(command, check=False, env={**os.environ, "SCHEMATHESIS_HOOKS": str(hooks)}).returncode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with served("--commit-every", "1") as address:
        open_code = run(address, arguments.examples, arguments.seed, [])
    with served("--commit-every", "1", "--api-key", "sesame") as address:
        key_code = run(address, max(arguments.examples // 5, 5), arguments.seed, ["--header", "Authorization: Bearer sesame"])
    print(f"schemathesis ended with {open_code} without a key and {key_code} with one")
    sys.exit(open_code or key_code)


if __name__ == "__main__":
    main()

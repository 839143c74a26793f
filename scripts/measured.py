#!/usr/bin/env python3
"""Runs a command and appends its name, wall time and peak memory to a file, as one JSON line.

    measured.py FILE NAME COMMAND [ARGUMENT ...]

The command's output and exit code are passed through. Peak memory is the largest resident set of any process in it.
"""

import json
import resource
import subprocess
import sys
import time


def main() -> int:
    record, name, *command = sys.argv[1:]
    started = time.monotonic()
    code = subprocess.call(command)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with open(record, "a", encoding="utf-8") as out:
        out.write(json.dumps({"stage": name, "seconds": round(seconds, 1), "peak_mib": round(peak)}) + "\n")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs a command and appends its name, wall time and peak memory to a file, as one JSON line.

    measured.py FILE NAME COMMAND [ARGUMENT ...]
    measured.py --table FILE                          prints what the file holds

The command's output and exit code are passed through. Peak memory is the largest resident set of any process in it.
"""

import json
import resource
import subprocess
import sys
import time


def table(record: str) -> int:
    with open(record, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows.append(
        {
            "stage": "all",
            "seconds": sum(row["seconds"] for row in rows),
            "peak_mib": max(row["peak_mib"] for row in rows),
        }
    )
    width = max(len(row["stage"]) for row in rows)
    print(f"{'stage'.ljust(width)}     time  peak memory")
    for row in rows:
        minutes, seconds = divmod(round(row["seconds"]), 60)
        print(f"{row['stage'].ljust(width)}  {minutes:3d}m {seconds:02d}s  {row['peak_mib']:7d} MiB")
    return 0


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "--table":
        return table(sys.argv[2])
    if len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
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

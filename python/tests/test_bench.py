"""The scripts of `make bench`, without the peers that they measure."""

import json
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / "benches/peers"

RECORD = {
    "version": 1,
    "date": "2026-12-01 12:00 UTC",
    "command": "run.py",
    "processor": "a processor",
    "quick": False,
    "versions": {"lancedb": "1.0"},
    "parts": {
        "hybrid": {
            "collection": "birds",
            "documents": 3,
            "train": 1,
            "test": 1,
            "load": [0.0, 0.5],
            "failed": {"x": "x: ended"},
            "built": {"adam-search": {"seconds": 1.0, "bytes": 2097152, "peak_mib": 3.0}},
            "table": [
                {"contender": name, "mode": "hybrid", "setting": {"weight": 0.8}, "ndcg_test": quality, "p50_ms": ms, "p99_ms": ms,
                 "queries_per_s_1": 1.0, "queries_per_s_8": each}
                for name, quality, ms, each in [("adam-search", 0.75, 5.0, 90.0), ("LanceDB", 0.74, 4.0, 80.0)]
            ],
        }
    },
}


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)


def test_a_page_is_made_of_a_record_and_says_where_others_are_ahead(tmp_path: Path) -> None:
    record, page = tmp_path / "record.json", tmp_path / "BENCHMARKS.md"
    record.write_text(json.dumps(RECORD), encoding="utf-8")
    done = run(PEERS / "tables.py", record, "--output", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "| adam-search | hybrid | weight 0.8 | 0.7500 | 5.00 |" in text and "Not measured: x: ended" in text
    lost = text.split("## Where we lose")[1]
    assert "p50 ms: LanceDB 4.0, adam-search 5.0" in lost and "nDCG" not in lost and "8 clients" not in lost


def test_wrong_calls_are_named(tmp_path: Path) -> None:
    done = run(PEERS / "run.py", "everything")
    assert done.returncode == 2 and "everything is no part" in done.stderr
    record = tmp_path / "record.json"
    record.write_text(json.dumps({**RECORD, "version": 2}), encoding="utf-8")
    done = run(PEERS / "tables.py", record, "--output", tmp_path / "page.md")
    assert done.returncode == 1 and "no record of this version" in done.stderr

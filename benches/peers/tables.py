"""BENCHMARKS.md and its charts, from the records of run.py.

    python3 benches/peers/tables.py [RECORD.json ...] [--output BENCHMARKS.md]

Without records, the newest of each machine in benches/records. Figures are copied from the records and nowhere typed in.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

OURS = ("tantivy-dense", "adam-search")

HEAD = """# Benchmarks

This project beside what a user would pick instead, each the newest release of its registry at its best settings for the task, measured in turns in one run. Made by
`benches/peers/tables.py` from the records in `benches/records`; no figure here was typed in. To run it again:

```sh
make build wheel
make bench                  # or: make bench PART=search; PART=encoding; PART=hybrid
```

"""


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"


def figure(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def bold_best(rows: list[list[str]], values: list[float | None], column: int, most: bool = True) -> None:
    known = [value for value in values if value is not None]
    for row, value in zip(rows, values, strict=True):
        if known and value == (max(known) if most else min(known)):
            row[column] = f"**{row[column]}**"


def at_recall(rows: list[dict[str, Any]], least: float) -> dict[str, Any] | None:
    """The fastest setting of a contender that finds enough."""
    enough = [row for row in rows if row["recall"] >= least]
    return max(enough, key=lambda row: row["queries_per_s"]) if enough else None


def search(part: dict[str, Any], name: str, charts: Path) -> str:
    out = f"## Nearest neighbours: {part['rows']:,} x {part['dimension']}, ten by cosine\n\n"
    out += f"Generated vectors in 1,000 uneven clusters; {part['queries']} queries, medians of {part['rounds']} rounds; load {part['load'][0]:.1f} to {part['load'][1]:.1f}.\n\n"
    rows = []
    for contender, built in part["built"].items():
        rows.append([contender, figure(built["seconds"]), figure(built["bytes"] / 2**20, 0), figure(built["rss_mib"], 0), figure(built["peak_mib"], 0)])
    out += table(["build", "s", "MiB on disk", "MiB in memory", "at its highest"], rows) + "\n"
    contenders = list(part["built"])
    threads = sorted({row["threads"] for row in part["table"]})
    shares = list(dict.fromkeys(row["share"] for row in part["table"]))
    for count in threads:
        rows = []
        for contender in contenders:
            cells = []
            for share in shares:
                found = [row for row in part["table"] if (row["contender"], row["threads"], row["share"]) == (contender, count, share)]
                best = at_recall(found, 0.95)
                highest = max((row["recall"] for row in found), default=None)
                cells.append(figure(best["queries_per_s"], 0) + f" ({best['recall']:.3f})" if best else "" if highest is None else f"recall {highest:.3f} at most")
            rows.append([contender, *cells])
        out += f"Queries a second, {count} thread{'s' if count > 1 else ''}, at the fastest setting with recall@10 of 0.95 and more (recall); by the share of rows that the filter leaves:\n\n"
        out += table(["", *shares], rows) + "\n"
    chart = charts / f"{name}-recall.svg"
    draw(part, chart)
    return out + f"![Recall and queries a second](benches/charts/{chart.name})\n\n" + failures(part)


def draw(part: dict[str, Any], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        sys.exit("tables.py: error: matplotlib is not installed; run by target/bench/peers/bin/python, or `pip install matplotlib`")

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "adam"
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    axes = plt.subplots(figsize=(8, 5))[1]
    for contender in part["built"]:
        rows = [row for row in part["table"] if (row["contender"], row["threads"], row["share"]) == (contender, 1, "all")]
        rows.sort(key=lambda row: row["recall"])
        width = 2.5 if contender.startswith(OURS) else 1.2
        axes.plot([row["recall"] for row in rows], [row["queries_per_s"] for row in rows], marker="o", linewidth=width, label=contender)
    axes.set(xlabel="recall@10", ylabel="queries a second, one thread", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    plt.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close()


def encoding(part: dict[str, Any], name: str, charts: Path) -> str:
    out = f"## Encoding: all-MiniLM-L6-v2, {part['texts']} passages of {part['collection']}\n\n"
    out += f"Cut at 256 tokens, vectors of length 1; medians of {part['rounds']} rounds that take turns; load {part['load'][0]:.1f} to {part['load'][1]:.1f}.\n\n"
    rows = [
        [
            row["contender"], figure(row["texts_per_s"]), figure(row["short_per_s"], 0), figure(row["query_p50_ms"], 2),
            figure(row["query_p99_ms"], 2), figure(row["peak_mib"], 0), figure(row["lowest_cosine"], 5),
        ]
        for row in part["table"]
    ]
    for column, key, most in ((1, "texts_per_s", True), (2, "short_per_s", True), (3, "query_p50_ms", False)):
        bold_best(rows, [row[key] for row in part["table"]], column, most)
    out += table(["", "passages/s", "short queries/s", "one query, p50 ms", "p99 ms", "MiB at the highest", "lowest cosine to f32"], rows)
    for contender, note in part["notes"].items():
        out += f"\n- {contender}: {note}"
    return out + "\n\n" + failures(part)


def hybrid(part: dict[str, Any], name: str, charts: Path) -> str:
    out = f"## Words and vectors: {part['collection']}, {part['documents']:,} documents\n\n"
    out += f"The same texts and vectors for all; each engine at the fusion and weight that is best on {part['train']} training queries; quality on {part['test']} test queries. Times include the vector of the query ("
    out += "row \"encoding alone\"). "
    out += f"Load {part['load'][0]:.1f} to {part['load'][1]:.1f}.\n\n"
    rows = [
        [
            row["contender"], row["mode"], ", ".join(f"{key} {value}" for key, value in row["setting"].items()),
            "" if row["mode"] == "none" else figure(row["ndcg_test"], 4),
            figure(row["p50_ms"], 2), figure(row["p99_ms"], 2), figure(row["queries_per_s_1"], 0), figure(row["queries_per_s_8"], 0),
        ]
        for row in part["table"]
    ]
    out += table(["", "mode", "setting", "nDCG@10", "p50 ms", "p99 ms", "queries/s, 1 client", "8 clients"], rows) + "\n"
    built = [[contender, figure(row["seconds"]), figure(row["bytes"] / 2**20, 1), figure(row["peak_mib"], 0)] for contender, row in part["built"].items()]
    return out + table(["build", "s", "MiB on disk", "MiB in memory at the highest"], built) + "\n" + failures(part)


def failures(part: dict[str, Any]) -> str:
    return "".join(f"- Not measured: {fault}\n" for fault in part["failed"].values()) + ("\n" if part["failed"] else "")


def losses(record: dict[str, Any]) -> list[str]:
    """Rows in which something else is ahead of this project, found in the record."""
    found = []
    parts = record["parts"]
    if "search" in parts:
        table = parts["search"]["table"]
        for threads in sorted({row["threads"] for row in table}):
            for share in dict.fromkeys(row["share"] for row in table):
                best: dict[str, float] = {}
                for contender in {row["contender"] for row in table}:
                    rows = [row for row in table if (row["contender"], row["threads"], row["share"]) == (contender, threads, share)]
                    if (row := at_recall(rows, 0.95)) is not None:
                        best[contender] = row["queries_per_s"]
                ours = {name: value for name, value in best.items() if name.startswith(OURS)}
                if best and ours and (first := max(best, key=lambda name: best[name])) not in ours:
                    own = max(ours, key=lambda name: ours[name])
                    found.append(f"Search, {threads} threads, {share} of the rows: {first} {best[first]:,.0f} queries/s, {own} {ours[own]:,.0f} ({ours[own] / best[first]:.2f} x).")
    if "encoding" in parts:
        rows = parts["encoding"]["table"]
        for precision in ("f32", "int8"):
            for key, what, most in (("texts_per_s", "passages/s", True), ("short_per_s", "short queries/s", True), ("query_p50_ms", "ms for one query", False)):
                same = {row["contender"]: row[key] for row in rows if row["contender"].endswith(precision)}
                own = same.pop(f"adam-search {precision}", None)
                if own is None or not same:
                    continue
                first = (max if most else min)(same, key=lambda name: same[name])
                if (same[first] > own) if most else (same[first] < own):
                    found.append(f"Encoding, {precision}, {what}: {first} {same[first]:.2f}, adam-search {own:.2f}.")
    if "hybrid" in parts:
        for mode in ("bm25", "dense", "hybrid"):
            rows = [row for row in parts["hybrid"]["table"] if row["mode"] == mode]
            own = next((row for row in rows if row["contender"] == "adam-search"), None)
            for key, what, most in (("ndcg_test", "nDCG@10", True), ("p50_ms", "p50 ms", False), ("queries_per_s_8", "queries/s with 8 clients", True)):
                others = [row for row in rows if row["contender"] != "adam-search" and row[key] is not None]
                if own is None or not others:
                    continue
                first = (max if most else min)(others, key=lambda row: row[key])
                if (first[key] > own[key]) if most else (first[key] < own[key]):
                    digits = 4 if key == "ndcg_test" else 1
                    found.append(f"{mode}, {what}: {first['contender']} {first[key]:.{digits}f}, adam-search {own[key]:.{digits}f}.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="*", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "BENCHMARKS.md")
    options = parser.parse_args()
    paths = options.records
    if not paths:
        newest: dict[str, Path] = {}
        for path in sorted((ROOT / "benches/records").glob("*.json")):
            newest[path.stem[11:]] = path
        paths = list(newest.values())
    if not paths:
        sys.exit("tables.py: error: there is no record in benches/records; make one by benches/peers/run.py")
    out = HEAD
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("version") != 1:
            sys.exit(f"tables.py: error: {path}: is no record of this version of run.py")
        out += f"# {record['processor']}\n\n{record['date']}, `{record['command']}`"
        out += ". **Quick run: figures mean nothing.**\n\n" if record["quick"] else f"; record `{path.name}`.\n\n"
        out += "Versions: " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + ".\n\n"
        for name, part in record["parts"].items():
            out += {"search": search, "encoding": encoding, "hybrid": hybrid}[name](part, path.stem, options.output.resolve().parent / "benches/charts")
        lost = losses(record)
        out += "## Where we lose\n\n" + ("".join(f"- {line}\n" for line in lost) if lost else "Nowhere in this record.\n") + "\n"
    notes = ROOT / "benches/notes.md"
    if notes.exists() and not options.records:
        out += notes.read_text(encoding="utf-8")
    options.output.write_text(out, encoding="utf-8")
    print(f"tables: wrote {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Shards on several processes, held to one index: what must be equal, what may die, what it costs. Prints a table for benches/records.

    python python/benches/scale.py --model MODEL --program target/release/adam [--collection scifact.zip] [--short]

Without a collection, documents are generated. `--short` takes minutes, a whole run about an hour on two cores. Needs ray[serve].
"""

import argparse
import concurrent.futures
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import adam_search as adam
import ray
from adam_search import scale
from ray.cluster_utils import Cluster

FUSIONS = ["convex", "rrf", "min-max", "z-score", "dbsf"]
WORDS = "crow wire hook iron blood water light nest owl stone shell grub snow wing beak song".split()


class Table:
    """Rows of the record. A check that fails ends the run with exit code 1."""

    def __init__(self) -> None:
        self.failed = False
        print("| check | outcome | seen |\n|---|---|---|", flush=True)

    def add(self, check: str, passed: bool, seen: str) -> None:
        self.failed |= not passed
        print(f"| {check} | {'pass' if passed else '**fail**'} | {seen} |", flush=True)


def generated(count: int) -> tuple[list[dict[str, Any]], list[str]]:
    chance = random.Random(7)
    documents = [
        {"_id": f"g{at}", "title": chance.choice(WORDS), "text": " ".join(chance.choices(WORDS, k=chance.randrange(3, 25)))}
        for at in range(count)
    ]
    return documents, [" ".join(chance.choices(WORDS, k=3)) for _ in range(60)]


def collected(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    collection = adam.Collection(path)
    documents = [{"_id": row["_id"], "title": row["title"], "text": row["text"]} for row in collection.documents()]
    return documents, list(collection.queries().values())


def with_vectors(documents: list[dict[str, Any]], encoder: adam.Encoder) -> list[dict[str, Any]]:
    """So that no shard encodes, and all have the same vectors."""
    texts = [f"{row['title']} {row['text']}".strip() for row in documents]
    vectors = encoder.encode(texts, kind="passage")
    return [
        {**row, "metadata": {"year": 1990 + at % 30}, "vector": vector.tolist()}
        for at, (row, vector) in enumerate(zip(documents, vectors, strict=True))
    ]


def write(path: Path, documents: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    return path


def call(program: Path, *words: object) -> None:
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)


def gathered(shards: list[adam.Index], request: adam.Request, own_statistics: bool = False) -> adam.Hits:
    parts = [shard.statistics(request) for shard in shards]
    gathering = adam.Gathering(request, parts)
    while (window := gathering.window) is not None:
        used = parts if own_statistics else [gathering.statistics] * len(shards)
        gathering.add([shard.candidates(request, part, window) for shard, part in zip(shards, used, strict=True)])
    return gathering.hits([shard.fetch(request, ids) for shard, ids in zip(shards, gathering.ids, strict=True)])


def bits(hits: adam.Hits) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


def equality(table: Table, home: Path, options: argparse.Namespace, documents: list[dict[str, Any]], queries: list[str]) -> None:
    program, model = options.program, options.model
    by_length = sorted(documents, key=lambda row: len(row["text"]))
    data = {"as it is": write(home / "data.jsonl", documents), "by length": write(home / "length.jsonl", by_length)}
    # One shard, so that deletions are merged away and there is one segment.
    call(program, "shard", "--model", model, "--data", data["as it is"], "--index", home / "whole", "--shards", 1)
    whole = adam.Index.open(home / "whole")
    vectors = {query: whole.encode_query(query) for query in queries}
    ways: list[dict[str, Any]] = [{"mode": "bm25"}, {"mode": "dense"}, *({"fusion": fusion} for fusion in FUSIONS)]
    ways = [{**way, **more, "top": 100, "snippets": False} for way in ways for more in ({}, {"filter": "year:2000..2010"})]
    wanted = {
        (query, at): bits(whole.search(query, **way)) for query in queries for at, way in enumerate(ways)
    }
    layouts = [(1, "hash", "as it is"), (2, "hash", "as it is"), (4, "hash", "as it is"), (7, "hash", "as it is")]
    layouts += [(4, "range", "as it is"), (4, "range", "by length")]
    for of, by, order in layouts:
        index = home / f"{of}-{by}-{order.replace(' ', '')}"
        call(program, "shard", "--model", model, "--data", data[order], "--index", index, "--shards", of, "--by", by)
        shards = [adam.Index.open(folder, lexical=True) for folder in scale.read_shards(index).folders]

        def differs(query: str, shards: list[adam.Index] = shards) -> int:
            requests = [adam.Request(query, vector=vectors[query], **way) for way in ways]
            return sum(bits(gathered(shards, request)) != wanted[query, at] for at, request in enumerate(requests))

        with concurrent.futures.ThreadPoolExecutor() as pool:
            wrong = sum(pool.map(differs, queries))
        total = len(queries) * len(ways)
        table.add(f"{of} shards by {by}, input {order}: ids, order and score bits of the 100 best", wrong == 0, f"{total - wrong} of {total} equal")
    other = sum(
        bits(gathered(shards, adam.Request(query, mode="bm25", top=100, snippets=False), own_statistics=True)) != wanted[query, 0]
        for query in queries
    )
    table.add("negative control: each shard by its own statistics", other > len(queries) / 2, f"{other} of {len(queries)} differ")


def processes(program: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe") == str(program.resolve()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()[1])


DRIVER = """
import sys, ray
from adam_search import scale
ray.init(address=sys.argv[1], log_to_driver=False)
scale.build(sys.argv[2], model=sys.argv[3], index=sys.argv[4], shards=int(sys.argv[5]), program=sys.argv[6], retries=1000,
            options=["--commit-every", "20"], progress=lambda done, of: print(done, of, flush=True))
"""


def kills(table: Table, home: Path, options: argparse.Namespace, documents: list[dict[str, Any]]) -> None:
    """A build in which worker, node and driver are killed again and again."""
    shards, each = (8, 2) if options.short else (40, 20)
    data, index = write(home / "killed.jsonl", documents), home / "killed"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    words = [cluster.address, data, options.model, index, shards, options.program]

    def driver() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )

    done = {"worker": 0, "node": 0, "driver": 0}
    finished: dict[Path, int] = {}
    kept = True
    child = driver()
    chance = random.Random(1)
    while min(done.values()) < each:
        time.sleep(chance.uniform(0.3, 1.5))
        for path in index.glob("job-*/shard-????/.shard.json"):
            kept &= finished.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
        if child.poll() is not None:
            if child.returncode == 0 and min(done.values()) < each:
                # Whole too early: from the start, in another folder.
                shutil.rmtree(index)
                finished.clear()
            child = driver()
            continue
        kind = min(done, key=lambda kind: done[kind])
        if kind == "worker" and (units := processes(options.program)):
            os.kill(parent(units[0]), signal.SIGKILL)
            done["worker"] += 1
        elif kind == "node":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1))
            done["node"] += 1
        elif kind == "driver":
            child.kill()
            child.wait()
            done["driver"] += 1
            child = driver()
    code = child.wait()
    while code != 0:
        child = driver()
        code = child.wait()
    for path, made in finished.items():
        kept &= path.stat().st_mtime_ns == made
    found = adam.Index.open(index)
    ids = {hit.id for hit in found.search("crow", mode="dense", top=10_000, snippets=False)}
    whole = len(found) == len(documents) and ids == {row["_id"] for row in documents}
    sound = subprocess.run([options.program, "check", index], check=False, capture_output=True).returncode == 0
    said = ", ".join(f"{count} x {kind}" for kind, count in done.items())
    table.add(f"SIGKILL of {said} in a build of {shards} shards: every document once", whole and sound, f"{len(found)} of {len(documents)} documents")
    table.add("... and finished shards untouched", kept, f"{len(finished)} seen")
    cluster.shutdown()


def serving(table: Table, home: Path, options: argparse.Namespace, queries: list[str]) -> None:
    """Replicas that die under clients, and what a search costs."""
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    index = home / "4-hash-asitis"
    whole = adam.Index.open(home / "whole")
    service = scale.serve(index, replicas=2, port=18_080, cpus=0.25, ingress_cpus=0.25)
    queries = queries[:50]
    wanted = {query: bits(whole.search(query)) for query in queries}
    wrong: list[object] = []
    answered = 0
    stop = threading.Event()

    def ask(query: str) -> Any:
        with urllib.request.urlopen(service.url + "/search", json.dumps({"query": query}).encode(), timeout=60) as answer:
            return json.load(answer)

    def client(number: int) -> None:
        nonlocal answered
        chance = random.Random(number)
        while not stop.is_set():
            query = chance.choice(queries)
            try:
                answer = ask(query)
                if [(hit["id"], hit["score"]) for hit in answer["hits"]] != wanted[query]:
                    wrong.append(answer)
            except OSError as fault:
                wrong.append(fault)
            answered += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in clients:
        thread.start()
    killed = 0
    for _ in range(2 if options.short else 20):
        for shard in service.replicas():
            # The other replica answers meanwhile.
            os.kill(ray.get(shard[killed // 4 % 2].process.remote()), signal.SIGKILL)
            killed += 1
            time.sleep(1.5)
    stop.set()
    for thread in clients:
        thread.join()
    table.add(f"SIGKILL of {killed} replicas under 8 clients, two of each shard", not wrong, f"{len(wrong)} of {answered} answers wrong or failed {wrong[:1] or ''}")
    for thread in clients:
        thread.join()
    # The root's own time: what HTTP, Ray and fusion add to the slowest shard.
    shards = [adam.Index.open(folder, lexical=True) for folder in scale.read_shards(index).folders]
    times: dict[str, list[float]] = {"one index": [], "slowest shard": [], "over HTTP": []}
    for query in queries * (1 if options.short else 4):
        ask(query)
        began = time.perf_counter()
        ask(query)
        times["over HTTP"].append(time.perf_counter() - began)
        began = time.perf_counter()
        whole.search(query)
        times["one index"].append(time.perf_counter() - began)
        request = adam.Request(query, vector=whole.encode_query(query))
        parts = [shard.statistics(request) for shard in shards]
        gathering = adam.Gathering(request, parts)
        each = []
        for shard in shards:
            began = time.perf_counter()
            shard.candidates(request, gathering.statistics, 200)
            each.append(time.perf_counter() - began)
        times["slowest shard"].append(max(each))
    p50 = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    extra = p50["over HTTP"] - p50["slowest shard"]
    shown = ", ".join(f"{name} {value:.1f} ms" for name, value in p50.items())
    table.add("p50 of a repeated search over HTTP: at most the slowest shard and 10 ms, with the query's encoding", extra <= 10.0, f"{shown}; more by {extra:.1f} ms")
    service.stop()
    ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--collection", type=Path)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    options.model, options.program = options.model.resolve(), options.program.resolve()
    documents, queries = collected(options.collection) if options.collection else generated(400 if options.short else 5000)
    if options.short:
        documents, queries = documents[:400], queries[:30]
    print(f"{len(documents)} documents, {len(queries)} queries; {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Ray {ray.__version__}\n")
    documents = with_vectors(documents, adam.Encoder(options.model))
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        equality(table, home, options, documents, queries)
        kills(table, home, options, documents[:2000])
        serving(table, home, options, queries)
    sys.exit(table.failed)


if __name__ == "__main__":
    main()

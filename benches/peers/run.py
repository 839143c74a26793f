"""Measures this project beside what a user would pick instead, in one run on one machine, and writes a record as JSON.

    python3 benches/peers/run.py [PART ...] [--quick] [--data DIR] [--output FILE]

Parts: search (nearest neighbours), encoding (sentence encoders), hybrid (words and vectors together). Every contender has a process of its own;
rounds take turns, so that noise hits all alike, and medians are kept. tables.py makes BENCHMARKS.md of the records. `--quick` takes a few minutes on
small input and shows that everything works; its figures mean nothing.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / "target/bench"

# Seconds that one answer may take.
LIMIT = 600.0


def reexecuted() -> None:
    """Goes on in the environment of the peers, which is made if it is not there."""
    python = ENVIRONMENTS / "peers/bin/python"
    if Path(sys.prefix) == ENVIRONMENTS / "peers":
        return
    if not python.exists():
        say("installs the peers into target/bench/peers")
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENTS / "peers"], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
    wheels = sorted((ROOT / "target/wheels").glob("adam_search-*.whl"))
    if not wheels:
        sys.exit("run.py: error: there is no wheel of adam-search in target/wheels; make it by `make wheel`")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--force-reinstall", wheels[-1]], check=True)
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def processor() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    flags = next((set(line.split()) for line in info.splitlines() if line.startswith("flags")), set())
    known = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags]
    return f"{model} ({', '.join(known)}), {os.cpu_count()} threads"


def versions() -> dict[str, str]:
    found = {}
    for name in ("peers", "torch"):
        python = ENVIRONMENTS / name / "bin/python"
        if python.exists():
            listed = subprocess.run(
                [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"], capture_output=True, text=True, check=True
            )
            found.update({row["name"]: row["version"] for row in json.loads(listed.stdout)})
    wanted = [line.split("==")[0] for file in HERE.glob("requirements*.txt") for line in file.read_text().splitlines() if "==" in line]
    return {name: found[name] for name in sorted({*wanted, "adam-search"}) if name in found}


class Contenders:
    """Running contenders by their names. One that fails is left out, and the record says why."""

    def __init__(self, peers: dict[str, Callable[[], Any]]) -> None:
        self.failed: dict[str, str] = {}
        self.running: dict[str, Any] = {}
        for name, start in peers.items():
            try:
                self.running[name] = start()
            except OSError as fault:
                self.failed[name] = str(fault)

    def ask(self, name: str, **request: Any) -> dict[str, Any] | None:
        try:
            return self.running[name].ask(LIMIT, **request)
        except PeerError as fault:
            say(str(fault))
            self.failed.setdefault(name, str(fault))
            return None

    def drop(self, name: str) -> None:
        self.running.pop(name).close()

    def close(self) -> None:
        for name in list(self.running):
            self.drop(name)


def search(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Ten nearest by cosine: unfiltered and filtered, at several settings of the graphs, on one thread and on all."""
    rows, dimension, count, rounds = (5_000, 64, 50, 1) if options.quick else (options.rows, 384, 200, 3)
    values, queries = data.vectors(rows, dimension), data.vectors(count, dimension, seed=2)
    (home / "rows.f32").write_bytes(values.tobytes())
    (home / "queries.f32").write_bytes(queries.tobytes())
    shares = {None: "all", 100: "10 %", 10: "1 %", 1: "0.1 %"}
    numbers = data.buckets(rows)
    truth = {below: data.nearest(values, queries, 10, None if below is None else numbers < below) for below in shares}
    del values
    program = ROOT / "target/release/examples/vector_peer"
    ours = {kind: (lambda: Peer("tantivy-dense", [str(program)])) for kind in ("exact", "int8", "hnsw")}
    others = {"faiss Flat": "FaissFlat", "LanceDB flat": "LanceFlat", "qdrant-edge exact": "QdrantFlat"}
    others |= {"faiss HNSW": "FaissHnsw", "usearch": "Usearch", "hnswlib": "Hnswlib", "LanceDB HNSW-SQ": "LanceHnsw", "qdrant-edge HNSW": "QdrantHnsw"}
    contenders = Contenders(
        {f"tantivy-dense {kind}": start for kind, start in ours.items()}
        | {name: (lambda name=name, kind=kind: python_peer(name, "vector_peers", kind)) for name, kind in others.items()}
    )
    built, table = {}, []
    for name in list(contenders.running):
        say(f"search: builds {name}")
        request: dict[str, Any] = {"rows": str(home / "rows.f32"), "dimension": dimension, "folder": str(home / name.replace(" ", "-"))}
        if name.startswith("tantivy-dense"):
            request["kind"] = name.split()[-1]
        answer = contenders.ask(name, do="build", **request)
        if answer is None:
            contenders.drop(name)
            continue
        built[name] = {
            "seconds": answer["seconds"],
            "bytes": answer.get("bytes") or folder_bytes(request["folder"]),
            "rss_mib": answer["rss_kib"] / 1024,
            "peak_mib": answer["peak_kib"] / 1024,
        }
    is_graph = lambda name: any(word in name.lower() for word in ("hnsw", "usearch"))  # noqa: E731
    for threads in (1, os.cpu_count() or 1):
        for below, share in shares.items():
            for ef in (None, 32, 64, 128, 256):
                say(f"search: {threads} threads, {share} of the rows, ef {ef}")
                times: dict[str, list[float]] = {}
                seen: dict[str, dict[str, Any]] = {}
                for _ in range(rounds):
                    for name in list(contenders.running):
                        if is_graph(name) != (ef is not None) or (name in contenders.failed and below is not None):
                            continue
                        answer = contenders.ask(
                            name, do="search", queries=str(home / "queries.f32"), k=10, ef=ef, below=below, threads=threads
                        )
                        if answer is not None:
                            times.setdefault(name, []).append(answer["total"])
                            seen[name] = answer
                for name, totals in times.items():
                    single = seen[name]["seconds"] if threads == 1 else []
                    table.append({
                        "contender": name, "threads": threads, "share": share, "ef": ef,
                        "queries_per_s": count / statistics.median(totals),
                        "p50_ms": statistics.median(single) * 1e3 if single else None,
                        "recall": data.recall(seen[name]["ids"], truth[below]),
                    })
    failed = dict(contenders.failed)
    contenders.close()
    return {"rows": rows, "dimension": dimension, "queries": count, "rounds": rounds, "built": built, "table": table, "failed": failed}


def chosen(options: argparse.Namespace, home: Path) -> Any:
    """SciFact, where it is; else, and in a quick run, texts of made-up words."""
    scifact = options.data / "scifact.zip"
    return data.collection(scifact if scifact.exists() and not options.quick else data.made_collection(home / "made"))


def encoding(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """The same model by several libraries: many passages, many short queries, one query at a time, and agreement with f32."""
    collection = chosen(options, home)
    count, rounds = (16, 1) if options.quick else (128, 5)
    texts, queries = collection.passages()[:count], list(collection.queries.values())[: 20 if options.quick else 200]
    (home / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    torch = ENVIRONMENTS / "torch/bin/python"
    kinds = {"adam-search f32": "Adam", "adam-search int8": "AdamInt8", "onnxruntime f32": "OnnxRuntime", "onnxruntime int8": "OnnxRuntimeInt8"}
    kinds |= {"OpenVINO f32": "OpenVino", "OpenVINO bf16": "OpenVinoBf16", "OpenVINO int8": "OpenVinoInt8"}
    kinds |= {"fastembed f32": "FastEmbed", "fastembed int8": "FastEmbedInt8"}
    with_torch = {"sentence-transformers f32": "SentenceTransformers", "sentence-transformers bf16": "SentenceTransformersBf16"}
    starts = {name: (lambda name=name, kind=kind: python_peer(name, "encoder_peers", kind)) for name, kind in kinds.items()}
    if torch.exists():
        starts |= {
            name: (lambda name=name, kind=kind: python_peer(name, "encoder_peers", kind, str(torch))) for name, kind in with_torch.items()
        }
    contenders = Contenders(starts)
    notes, table = {}, []
    model = {"reference": str(ROOT / ".native/all-MiniLM-L6-v2"), "onnx": str(ROOT / ".native/minilm-onnx")}
    for name in list(contenders.running):
        say(f"encoding: loads {name}")
        answer = contenders.ask(name, do="load", texts=str(home / "texts.json"), queries=queries, **model)
        if answer is None:
            contenders.drop(name)
        elif answer["note"]:
            notes[name] = answer["note"]
    times: dict[str, dict[str, list[float]]] = {name: {"part": [], "short": [], "single": []} for name in contenders.running}
    peak: dict[str, float] = {}
    for turn in range(rounds):
        say(f"encoding: round {turn + 1} of {rounds}")
        for name in list(contenders.running):
            for do, request in (("part", {"first": 0, "last": count}), ("short", {}), ("single", {"first": 0, "last": len(queries)})):
                answer = contenders.ask(name, do=do, **request)
                if answer is not None:
                    seconds = answer["seconds"]
                    times[name][do].extend(seconds if isinstance(seconds, list) else [seconds])
                    peak[name] = answer["peak_kib"] / 1024
    reference = None
    for name in list(contenders.running):
        out = home / "vectors.npy"
        if contenders.ask(name, do="vectors", count=count, out=str(out)) is None:
            continue
        vectors = numpy.load(out)
        # The first is this project's f32; f32 of all others agrees with it to 1e-6.
        reference = vectors if reference is None else reference
        cosines = (vectors * reference).sum(1)
        single = sorted(times[name]["single"])
        table.append({
            "contender": name,
            "texts_per_s": count / statistics.median(times[name]["part"]),
            "short_per_s": len(queries) / statistics.median(times[name]["short"]),
            "query_p50_ms": statistics.median(single) * 1e3,
            "query_p99_ms": single[int(len(single) * 0.99)] * 1e3,
            "peak_mib": peak[name],
            "lowest_cosine": float(cosines.min()),
        })
    failed = dict(contenders.failed)
    contenders.close()
    return {"collection": collection.name, "texts": count, "queries": len(queries), "rounds": rounds, "table": table, "notes": notes, "failed": failed}


def ndcg(ranking: list[str], grades: dict[str, int]) -> float:
    """nDCG@10 with linear gains, as trec_eval has it."""
    gain = sum(grades.get(document, 0) / numpy.log2(rank + 2) for rank, document in enumerate(ranking[:10]))
    ideal = sum(grade / numpy.log2(rank + 2) for rank, grade in enumerate(sorted(grades.values(), reverse=True)[:10]))
    return float(gain / ideal) if ideal > 0 else 0.0


def hybrid(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """The same texts and vectors by several engines. The setting of each is the one that is best on training queries; the table is of test queries."""
    collection = chosen(options, home)
    onnx = ROOT / ".native/minilm-onnx"
    import adam_search

    say(f"hybrid: encodes {len(collection.documents)} passages")
    numpy.save(home / "vectors.npy", adam_search.Encoder(onnx).encode(collection.passages()))
    with (home / "documents.jsonl").open("w", encoding="utf-8") as out:
        for document, title, text in collection.documents:
            out.write(json.dumps({"id": document, "title": title, "text": text}) + "\n")
    kinds = {"adam-search": "Adam", "LanceDB": "Lance", "qdrant-edge": "Qdrant", "tantivy alone": "Tantivy", "encoding alone": "Encoding"}
    contenders = Contenders({name: (lambda name=name, kind=kind: python_peer(name, "document_peers", kind)) for name, kind in kinds.items()})
    train = {query: grades for query, grades in collection.qrels["train"].items() if query in collection.queries}
    train = dict(list(train.items())[: 10 if options.quick else 200])
    test = {query: grades for query, grades in collection.qrels["test"].items() if query in collection.queries}
    built, table = {}, []
    for name in list(contenders.running):
        say(f"hybrid: {name}")
        folder = home / name.replace(" ", "-")
        answer = contenders.ask(
            name, do="build", documents=str(home / "documents.jsonl"), vectors=str(home / "vectors.npy"), onnx=str(onnx), folder=str(folder)
        )
        if answer is None:
            contenders.drop(name)
            continue
        built[name] = {"seconds": answer["seconds"], "bytes": answer["bytes"], "peak_mib": answer["peak_kib"] / 1024}
        modes = {"tantivy alone": ["bm25"], "encoding alone": ["none"]}.get(name, ["bm25", "dense", "hybrid"])
        for mode in modes:
            quality = lambda found, qrels: statistics.mean(  # noqa: E731
                ndcg([document for document, _ in hits], grades) for hits, grades in zip(found, qrels.values(), strict=True)
            )
            best, setting = -1.0, {}
            for candidate in answer["settings"] if mode == "hybrid" else [{}]:
                found = contenders.ask(name, do="rank", queries=[collection.queries[query] for query in train], mode=mode, setting=candidate)
                if found is not None and (seen := quality(found["found"], train)) > best:
                    best, setting = seen, candidate
            texts = [collection.queries[query] for query in test]
            found = contenders.ask(name, do="rank", queries=texts, mode=mode, setting=setting)
            if found is None:
                continue
            row: dict[str, Any] = {"contender": name, "mode": mode, "setting": setting, "ndcg_train": best, "ndcg_test": quality(found["found"], test)}
            times = sorted(found["seconds"])
            row |= {"p50_ms": statistics.median(times) * 1e3, "p99_ms": times[int(len(times) * 0.99)] * 1e3}
            for clients in (1, 8):
                loaded = contenders.ask(name, do="clients", queries=texts, mode=mode, setting=setting, clients=clients)
                row[f"queries_per_s_{clients}"] = None if loaded is None else len(texts) / loaded["total"]
            table.append(row)
        contenders.drop(name)
    failed = dict(contenders.failed)
    contenders.close()
    return {"collection": collection.name, "documents": len(collection.documents), "train": len(train), "test": len(test), "built": built, "table": table, "failed": failed}


PARTS = {"search": search, "encoding": encoding, "hybrid": hybrid}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="small input: shows that it works")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the part search")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ADAM_DATA", ROOT.parent / "shared/data")), help="folder of scifact.zip")
    parser.add_argument("--output", type=Path, help="the record; default benches/records/DATE-MACHINE.json")
    options = parser.parse_args()
    wrong = [part for part in options.parts if part not in PARTS]
    if wrong:
        parser.error(f"{wrong[0]} is no part; there are {', '.join(PARTS)}")
    return options


def main() -> None:
    options = arguments()
    machine = platform.node() if os.environ.get("BENCH_MACHINE") is None else os.environ["BENCH_MACHINE"]
    now = datetime.datetime.now(datetime.timezone.utc)
    record: dict[str, Any] = {
        "version": 1,
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["python3 benches/peers/run.py", *sys.argv[1:]]),
        "processor": processor(),
        "quick": options.quick,
        "versions": versions(),
        "parts": {},
    }
    for part in options.parts or PARTS:
        began, load = time.monotonic(), os.getloadavg()
        with tempfile.TemporaryDirectory(prefix="adam-bench-") as home:
            found = PARTS[part](options, Path(home))
        record["parts"][part] = {**found, "minutes": (time.monotonic() - began) / 60, "load": [load[0], os.getloadavg()[0]]}
        say(f"{part}: {record['parts'][part]['minutes']:.1f} minutes")
    output = options.output or ROOT / f"benches/records/{now:%Y-%m-%d}-{machine}.json"
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {output}")


if __name__ == "__main__":
    arguments()
    reexecuted()
    import numpy

    import data
    from peer import Peer, PeerError, folder_bytes, python_peer

    main()

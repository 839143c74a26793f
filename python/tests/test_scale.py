"""Shards in several processes: they answer as one index, whoever made them and whatever dies."""

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adam_search as adam
import pytest
from adam_search import scale

WORDS = ["crows", "wire", "hooks", "iron", "blood", "water", "light", "nest"]
QUERIES = ["crows wire", "iron", "light nest blood"]
SHARDS = 3


def write(path: Path, count: int, more: str = "") -> Path:
    """Documents of few words, so that many scores are equal."""
    with path.open("w", encoding="utf-8") as file:
        for at in range(count):
            text = " ".join(WORDS[(at * 7 + word * word * 3) % len(WORDS)] for word in range(3 + at % 5)) + more
            row = {"_id": f"d{at}", "title": WORDS[at % 8], "text": text, "metadata": {"year": 1990 + at % 30}}
            file.write(json.dumps(row) + "\n")
    return path


def shard(program: Path, model: Path, data: Path, index: Path, shards: int = SHARDS) -> None:
    words = ["shard", "--model", model, "--data", data, "--index", index, "--shards", str(shards)]
    subprocess.run([program, *words], check=True, capture_output=True)


def manifests(index: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(index.glob("job-*/shard-*/.shard.json"))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", 240)


@pytest.fixture(scope="module")
def sharded(program: Path, model: Path, corpus: Path) -> Path:
    index = corpus.parent / "sharded"
    shard(program, model, corpus, index)
    return index


def gathered(shards: list[adam.Index], request: adam.Request) -> adam.Hits:
    gathering = adam.Gathering(request, [part.statistics(request) for part in shards])
    while (window := gathering.window) is not None:
        gathering.add([part.candidates(request, gathering.statistics, window) for part in shards])
    return gathering.hits([part.fetch(request, ids) for part, ids in zip(shards, gathering.ids, strict=True)])


def test_shards_that_are_open_apart_answer_as_one_index(sharded: Path) -> None:
    whole = adam.Index.open(sharded)
    # Without the model: the query comes encoded.
    shards = [adam.Index.open(folder, lexical=True) for folder in scale.read_shards(sharded).folders]
    assert len(shards) == SHARDS
    for query in QUERIES:
        vector = whole.encode_query(query)
        for options in [
            {"mode": "bm25"},
            {"mode": "dense"},
            {"fusion": "rrf", "offset": 30, "total": True},
            {"fusion": "z-score", "filter": "year:2000.."},
            {"window": 5, "top": 100},
        ]:
            request = adam.Request(query, vector=vector, **options)  # type: ignore[arg-type]
            wanted = whole.search(query, **options)  # type: ignore[call-overload]
            got = gathered(shards, request)
            assert len(wanted) > 0
            assert got.to_dicts() == wanted.to_dicts(), (query, options)
            assert got.total == wanted.total


def test_what_does_not_fit_is_refused(sharded: Path, tmp_path: Path) -> None:
    shards = [adam.Index.open(folder, lexical=True) for folder in scale.read_shards(sharded).folders]
    request = adam.Request("crows", mode="bm25")
    statistics = [part.statistics(request) for part in shards]
    gathering = adam.Gathering(request, statistics)
    with pytest.raises(adam.InputError, match="1 shards were given; the search has 3"):
        gathering.add([shards[0].candidates(request, gathering.statistics, 50)])
    with pytest.raises(adam.InputError, match="no statistics"):
        adam.Gathering(request, [b"{}"])
    with pytest.raises(adam.InputError, match="no shard"):
        adam.Gathering(request, [])
    with pytest.raises(adam.InputError, match="unknown|mode"):
        adam.Request("crows", mode="sparse")  # type: ignore[arg-type]
    with pytest.raises(adam.StorageError, match="there is no index"):
        scale.read_shards(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(sharded, copy)
    shutil.rmtree(scale.read_shards(copy).folders[1])
    with pytest.raises(adam.AdamError, match="shard 1 is missing"):
        scale.read_shards(copy)


def test_an_index_in_one_piece_is_a_shard_of_itself(by_program: Path) -> None:
    found = scale.read_shards(by_program)
    assert (found.generation, found.folders) == (0, (by_program,))


# From here on with Ray.


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, _temp_dir=None)
    yield ray
    ray.shutdown()


def children(program: Path) -> list[int]:
    """Processes of the program."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe") == str(program.resolve()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_ray_builds_the_same_shards(cluster: Any, program: Path, model: Path, corpus: Path, sharded: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    seen: list[tuple[int, int]] = []
    scale.build(corpus, model=model, index=index, shards=SHARDS, program=program, progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert manifests(index) == manifests(sharded)
    made = {path: path.stat().st_mtime_ns for path in index.rglob("*.store")}
    scale.build(corpus, model=model, index=index, shards=SHARDS, program=program)
    assert made == {path: path.stat().st_mtime_ns for path in index.rglob("*.store")}, "what was whole was made again"


def test_a_build_survives_its_workers(cluster: Any, program: Path, model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "many.jsonl", 1500)
    index = tmp_path / "index"
    options = ["--commit-every", "50", "--batch", "8"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        building = pool.submit(
            scale.build, data, model=model, index=index, shards=6, program=program, options=options, retries=20
        )
        kills = 0
        until = time.monotonic() + 60
        while kills < 3 and not building.done() and time.monotonic() < until:
            time.sleep(0.7)
            workers = {parent_of(child) for child in children(program)}
            for worker in list(workers)[:1]:
                os.kill(worker, signal.SIGKILL)
                kills += 1
        building.result(timeout=300)
    assert kills > 0, "the build was over before a worker was killed"
    found = adam.Index.open(index)
    assert len(found) == 1500
    assert subprocess.run([program, "check", index], check=False, capture_output=True).returncode == 0
    assert not list(index.rglob("*.unfinished"))


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()[1])


def test_errors_of_a_unit_are_those_of_the_program(cluster: Any, program: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(adam.AdamError, match=r"shard \d/2: .*nowhere.jsonl"):
        scale.build(tmp_path / "nowhere.jsonl", model=model, index=tmp_path / "index", shards=2, program=program)
    with pytest.raises(adam.InputError, match="1 shard or more"):
        scale.build(tmp_path / "nowhere.jsonl", model=model, index=tmp_path / "index", shards=0, program=program)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def asked(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as fault:
        return fault.code, json.loads(fault.read())


class Load:
    """Clients that search until they are stopped, and keep what went wrong."""

    def __init__(self, url: str, clients: int, right: Callable[[str, Any], bool]) -> None:
        self.wrong: list[Any] = []
        self.answered = 0
        self._stop = threading.Event()
        self._right = right
        self._threads = [threading.Thread(target=self._work, args=(url, number)) for number in range(clients)]

    def _work(self, url: str, number: int) -> None:
        while not self._stop.is_set():
            query = QUERIES[number % len(QUERIES)]
            try:
                status, answer = asked(url + "/search", {"query": query, "top": 5})
            except OSError as fault:
                status, answer = 0, str(fault)
            self.answered += 1
            if status != 200 or "partial" in answer or not self._right(query, answer):
                self.wrong.append((status, answer))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def same_hits(index: adam.Index) -> Callable[[str, Any], bool]:
    wanted = {query: [(hit.id, hit.score) for hit in index.search(query, top=5)] for query in QUERIES}
    return lambda query, answer: [(hit["id"], hit["score"]) for hit in answer["hits"]] == wanted[query]


def test_ray_serves_what_one_index_answers(
    cluster: Any, program: Path, model: Path, corpus: Path, sharded: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    shutil.copytree(sharded, index)
    whole = adam.Index.open(sharded)
    service = scale.serve(index, replicas=2, port=free_port(), cpus=0.25, ingress_cpus=0.25)
    try:
        for options in [{"mode": "bm25"}, {"mode": "dense"}, {"filters": ["year:2000.."], "total": True}, {"offset": 20}]:
            for query in QUERIES:
                status, answer = asked(service.url + "/search", {"query": query, **options})
                wanted = whole.search(query, **{name.rstrip("s") if name == "filters" else name: value for name, value in options.items()})  # type: ignore[call-overload]
                shown = [{key: value for key, value in hit.items() if key != "snippet"} for hit in wanted.to_dicts()]
                got = [{key: value for key, value in hit.items() if key != "snippet"} for hit in answer["hits"]]
                assert (status, got) == (200, shown), (query, options, answer)
                assert answer.get("total") == wanted.total
        assert asked(service.url + "/search?q=iron&top=2")[1]["hits"] == asked(service.url + "/search", {"query": "iron", "top": 2})[1]["hits"]
        for body, said in [
            ({}, "no query"),
            ({"query": "crows", "explain": True}, "has no `explain`"),
            ({"query": "crows", "top": "ten"}, "`top`"),
            ({"query": "crows", "mode": "sparse"}, "sparse"),
            ({"query": " "}, "empty"),
            ({"query": "crows", "filter": "year:"}, "year"),
        ]:
            status, answer = asked(service.url + "/search", body)
            assert status == 400 and said in answer["error"], (body, status, answer)
        assert asked(service.url + "/nothing")[0] == 404
        assert asked(service.url + "/ready")[0] == 200
        # Replicas that die under load: nobody notices.
        right = same_hits(whole)
        with Load(service.url, 4, right) as load:
            for shards in service.replicas():
                os.kill(cluster.get(shards[0].process.remote()), signal.SIGKILL)
                time.sleep(2.0)
        assert load.answered > 20 and not load.wrong, (load.answered, load.wrong[:3])
        # A new generation takes over without a failed request.
        newer = write(tmp_path / "newer.jsonl", 240, " owl")
        with Load(service.url, 4, lambda _, answer: len(answer["hits"]) == 5) as load:
            shard(program, model, newer, index, 2)
            until = time.monotonic() + 60
            while service.state()["generation"] != 2 and time.monotonic() < until:
                time.sleep(0.2)
            time.sleep(2.0)
        assert not load.wrong, load.wrong[:3]
        assert service.state()["generation"] == 2 and service.state()["shards"] == 2
        status, answer = asked(service.url + "/search", {"query": "owl", "mode": "bm25", "total": True})
        assert (status, answer["total"]) == (200, 240)
        with urllib.request.urlopen(service.url + "/metrics") as page:
            text = page.read().decode()
        assert 'adam_shard_calls_total{call="candidates",shard="0001"}' in text
    finally:
        service.stop()


def test_an_answer_without_a_shard_is_refused_or_flagged(cluster: Any, sharded: Path, tmp_path: Path) -> None:
    service = scale.serve(sharded, replicas=1, port=free_port(), cpus=0.25, ingress_cpus=0.25, name="alone")
    try:
        assert asked(service.url + "/search", {"query": "iron"})[0] == 200
        # For good: Ray does not start it again.
        cluster.kill(service.replicas()[1][0], no_restart=True)
        time.sleep(1.0)
        status, answer = asked(service.url + "/search", {"query": "iron"})
        assert status == 503 and "shard 0001 does not answer" in answer["error"], answer
        status, answer = asked(service.url + "/search", {"query": "iron", "partial": True})
        assert (status, answer["partial"]) == (200, ["0001"]), answer
        assert answer["hits"]
    finally:
        service.stop()


def test_a_damaged_list_is_refused_before_anything_starts(cluster: Any, sharded: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(sharded, index)
    (index / "SHARDS").write_bytes((index / "SHARDS").read_bytes()[:-20])
    with pytest.raises(adam.StorageError, match="SHARDS"):
        scale.serve(index, port=free_port())


def test_the_example_runs(program: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    example = Path(__file__).resolve().parents[2] / "examples/scale/birds.py"
    environment = {**os.environ, "ADAM": str(program), "PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, example, model], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2 shards" in done.stdout and "crow" in done.stdout, done.stdout

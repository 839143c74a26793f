"""What is measured on: vectors and texts that are made here, and BEIR collections from files."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BUCKETS = 1000


def vectors(rows: int, dimension: int, seed: int = 1) -> np.ndarray:
    """Vectors of length 1 that lie as embeddings do: 1,000 clusters of uneven sizes, spread in 48 directions that all share."""
    # Centres and directions are the same for every seed: queries come from where the rows come from.
    shape = np.random.default_rng(7)
    centres = shape.standard_normal((1000, dimension), dtype=np.float32)
    directions = shape.standard_normal((48, dimension), dtype=np.float32) / np.sqrt(np.float32(48))
    share = 1.0 / (20.0 + np.arange(1000))
    random = np.random.default_rng(seed)
    out = np.empty((rows, dimension), dtype=np.float32)
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        cluster = random.choice(1000, count, p=share / share.sum())
        part = centres[cluster] + random.standard_normal((count, 48), dtype=np.float32) @ directions
        part += 0.1 * random.standard_normal((count, dimension), dtype=np.float32)
        out[start : start + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return out


def buckets(rows: int) -> np.ndarray:
    """A number from 0 to 999 for each row, to filter by: below 100 are a tenth of the rows."""
    return np.arange(rows, dtype=np.int64) * 7919 % BUCKETS


def nearest(rows: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> list[list[int]]:
    """The k rows of the largest inner products for each query, among those allowed."""
    numbers = np.arange(len(rows)) if allowed is None else np.flatnonzero(allowed)
    best_scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    best_rows = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(numbers), 20_000):
        part = numbers[start : start + 20_000]
        scores = np.concatenate([best_scores, queries @ rows[part].T], axis=1)
        candidates = np.concatenate([best_rows, np.broadcast_to(part, (len(queries), len(part)))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best_scores = np.take_along_axis(scores, order, axis=1)
        best_rows = np.take_along_axis(candidates, order, axis=1)
    return [[int(row) for row in found if row >= 0] for found in best_rows]


def recall(found: list[list[int]], truth: list[list[int]]) -> float:
    """Share of the truth that was found, over all queries."""
    wanted = sum(len(rows) for rows in truth)
    return sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True)) / max(1, wanted)


def texts(count: int, words: int, seed: int) -> list[str]:
    """Texts of made-up words, the n-th of 30,000 as frequent as 1 / n."""
    random = np.random.default_rng(seed)
    numbers = (30_000.0 ** random.random((count, words))).astype(np.int64)
    return [" ".join(f"w{number}" for number in row) for row in numbers]


@dataclass
class Collection:
    """A BEIR collection: documents as (id, title, text), queries, and judgements by split."""

    name: str
    path: Path
    documents: list[tuple[str, str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, dict[str, int]]]

    def passages(self) -> list[str]:
        return [f"{title} {text}".strip() for _, title, text in self.documents]


def collection(path: Path) -> Collection:
    """A BEIR collection from a .zip or a folder."""
    if path.is_dir():
        files = {str(file.relative_to(path)): file.read_text(encoding="utf-8") for file in path.rglob("*") if file.is_file()}
    else:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".jsonl", ".tsv"))]
            files = {name: archive.read(name).decode("utf-8") for name in names}

    def lines(ending: str) -> list[dict]:
        for name, text in files.items():
            if name == ending or name.endswith("/" + ending):
                return [json.loads(line) for line in text.split("\n") if line.strip()]
        raise ValueError(f"{path} holds no {ending}; a BEIR collection is needed")

    documents = [(row["_id"], row.get("title", ""), row["text"]) for row in lines("corpus.jsonl")]
    queries = {row["_id"]: row["text"] for row in lines("queries.jsonl")}
    qrels: dict[str, dict[str, dict[str, int]]] = {}
    for name, text in files.items():
        if "qrels/" in name and name.endswith(".tsv"):
            split = qrels.setdefault(Path(name).stem, {})
            for line in text.splitlines()[1:]:
                query, document, grade = line.split("\t")
                split.setdefault(query, {})[document] = int(grade)
    return Collection(path.stem, path, documents, queries, qrels)


def made_collection(folder: Path) -> Path:
    """A small BEIR collection of made-up words, for a run without any data: queries are words of one document each."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    passages = texts(400, 30, 5)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for number, text in enumerate(passages):
            out.write(json.dumps({"_id": f"d{number}", "title": f"Text {number}", "text": text}) + "\n")
    chosen = random.choice(400, 60, replace=False)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as out:
        for number in chosen:
            words = random.choice(passages[number].split(), 5, replace=False)
            out.write(json.dumps({"_id": f"q{number}", "text": " ".join(words)}) + "\n")
    for split, part in (("train", chosen[:30]), ("test", chosen[30:])):
        rows = "".join(f"q{number}\td{number}\t1\n" for number in part)
        (folder / f"qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, encoding="utf-8")
    return folder

"""Searches over documents with words and vectors: the same texts and the same vectors for all.

`build` reads documents as JSON lines and their vectors, `rank` answers queries one after another by one setting, `clients` answers them
from several threads. Queries are texts; the vector of each is made in the search, by the same encoder for all.
"""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from peer import folder_bytes

# Documents that are handed over at once.
SLICE = 5000


def slices(documents: str, vectors: str):
    """Documents with `id`, `title` and `text`, and their vectors, a slice at a time."""
    values = np.load(vectors, mmap_mode="r")
    with open(documents, encoding="utf-8") as lines:
        start = 0
        while rows := [json.loads(line) for line in islice(lines, SLICE)]:
            yield rows, np.asarray(values[start : start + len(rows)])
            start += len(rows)


class Contender:
    settings: list[dict] = [{}]

    def build(self, documents: str, vectors: str, onnx: str, folder: str) -> dict:
        import adam_search

        self.adam = adam_search
        self.encoder = adam_search.Encoder(onnx) if onnx else None
        self.onnx = onnx
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        started = time.perf_counter()
        self.make(documents, vectors, Path(folder))
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "bytes": folder_bytes(folder), "settings": self.settings}

    def vector(self, query: str) -> np.ndarray:
        return self.encoder.encode_query([query])[0]

    def rank(self, queries: list[str], mode: str, setting: dict, top: int = 10) -> dict:
        found, seconds = [], []
        self.find(queries[0], mode, setting, top)
        for query in queries:
            started = time.perf_counter()
            hits = self.find(query, mode, setting, top)
            seconds.append(time.perf_counter() - started)
            found.append(hits)
        return {"found": found, "seconds": seconds}

    def clients(self, queries: list[str], mode: str, setting: dict, clients: int, top: int = 10) -> dict:
        def timed(query: str) -> float:
            started = time.perf_counter()
            self.find(query, mode, setting, top)
            return time.perf_counter() - started

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(timed, queries[:clients]))
            started = time.perf_counter()
            seconds = list(pool.map(timed, queries))
            return {"seconds": seconds, "total": time.perf_counter() - started}

    def make(self, documents: str, vectors: str, folder: Path) -> None:
        raise NotImplementedError

    def find(self, query: str, mode: str, setting: dict, top: int) -> list[tuple[str, float]]:
        raise NotImplementedError


class Adam(Contender):
    settings = [
        *({"fusion": "convex", "weight": weight} for weight in (0.5, 0.6, 0.7, 0.8, 0.9)),
        *({"fusion": fusion, "weight": weight} for fusion in ("rrf", "min-max", "z-score", "dbsf") for weight in (0.5, 0.7)),
    ]

    def make(self, documents, vectors, folder):
        self.index = self.adam.Index.create(folder / "index", self.encoder, language="english")
        for rows, values in slices(documents, vectors):
            self.index.add([{**row, "vector": value} for row, value in zip(rows, values, strict=True)], vector="vector")
        self.index.commit()

    def find(self, query, mode, setting, top):
        hits = self.index.search(query, mode=mode, top=top, snippets=False, **setting)
        return [(hit.id, hit.score) for hit in hits]


class Encoding(Contender):
    """No search at all: what making the vectors of the queries takes."""

    def make(self, documents, vectors, folder):
        pass

    def find(self, query, mode, setting, top):
        self.vector(query)
        return []


class Lance(Contender):
    settings = [{"reranker": "rrf"}, *({"reranker": "linear", "weight": weight} for weight in (0.5, 0.6, 0.7, 0.8, 0.9))]

    def make(self, documents, vectors, folder):
        import lancedb
        import pyarrow as pa
        from lancedb.rerankers import LinearCombinationReranker, RRFReranker

        def reranker(setting):
            return RRFReranker() if setting["reranker"] == "rrf" else LinearCombinationReranker(setting["weight"])

        self.rerankers = {json.dumps(setting): reranker(setting) for setting in self.settings}
        database, self.table = lancedb.connect(str(folder)), None
        for rows, values in slices(documents, vectors):
            part = pa.table({
                "id": [row["id"] for row in rows],
                "passage": [f"{row['title']} {row['text']}".strip() for row in rows],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]),
            })
            if self.table is None:
                self.table = database.create_table("documents", part)
            else:
                self.table.add(part)
        self.table.create_fts_index(
            "passage", language="English", stem=True, remove_stop_words=True, with_position=False
        )
        self.table.optimize()

    def find(self, query, mode, setting, top):
        if mode == "bm25":
            search, score = self.table.search(query, query_type="fts", fts_columns="passage"), "_score"
        elif mode == "dense":
            search, score = self.table.search(self.vector(query)).distance_type("cosine"), "_distance"
        else:
            search = self.table.search(query_type="hybrid", vector_column_name="vector", fts_columns="passage")
            search = search.vector(self.vector(query)).text(query).distance_type("cosine")
            search, score = search.rerank(self.rerankers[json.dumps(setting)]), "_relevance_score"
        # 100 of each kind take part in the fusion; a limit of 10 would leave it 10.
        limit = 100 if mode == "hybrid" else top
        search = search if mode == "hybrid" else search.select(["id", score])
        found = search.limit(limit).to_arrow()
        scores = found[score].to_pylist()[:top]
        return list(zip(found["id"].to_pylist()[:top], [-x if score == "_distance" else x for x in scores], strict=True))


class Qdrant(Contender):
    """Dense vectors and BM25 as sparse ones, fused by the server's own fusions over 100 of each."""

    settings = [{"fusion": "rrf", "weights": [w, 1 - w]} for w in (0.5, 0.7, 0.8)] + [{"fusion": "dbsf"}]

    def make(self, documents, vectors, folder):
        import qdrant_edge as qdrant

        self.qdrant = qdrant
        dimension = np.load(vectors, mmap_mode="r").shape[1]
        config = qdrant.EdgeConfig(
            vectors={"dense": qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Cosine)},
            sparse_vectors={"words": qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
            optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1),
        )
        self.shard = qdrant.EdgeShard.create(str(folder), config)
        self.words = qdrant.Bm25(qdrant.Bm25Config(language="english"))
        self.ids: list[str] = []
        for rows, values in slices(documents, vectors):
            points = []
            for row, value in zip(rows, values, strict=True):
                words = self.words.embed_document(f"{row['title']} {row['text']}".strip())
                vector = {"dense": value.tolist(), "words": words}
                points.append(qdrant.Point(len(self.ids), vector, {"id": row["id"], "text": row["text"]}))
                self.ids.append(row["id"])
            self.shard.update(qdrant.UpdateOperation.upsert_points(points))
        self.shard.optimize()
        self.shard.flush()

    def find(self, query, mode, setting, top):
        qdrant = self.qdrant
        words = qdrant.Query.Nearest(self.words.embed_query(query), using="words") if mode != "dense" else None
        dense = qdrant.Query.Nearest(self.vector(query).tolist(), using="dense") if mode != "bm25" else None
        if mode == "hybrid":
            rrf = setting["fusion"] == "rrf"
            fusion = qdrant.Fusion.Rrf(60, setting["weights"]) if rrf else qdrant.Fusion.Dbsf()
            arms = [qdrant.Prefetch(100, dense), qdrant.Prefetch(100, words)]
            request = qdrant.QueryRequest(limit=top, query=fusion, prefetches=arms)
        else:
            request = qdrant.QueryRequest(limit=top, query=words or dense)
        return [(self.ids[point.id], point.score) for point in self.shard.query(request)]


class Tantivy(Contender):
    """tantivy alone, through its Python package: words only."""

    def make(self, documents, vectors, folder):
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_text_field("id", stored=True, tokenizer_name="raw")
        builder.add_text_field("title", stored=True, tokenizer_name="en_stem")
        builder.add_text_field("text", stored=True, tokenizer_name="en_stem")
        self.index = tantivy.Index(builder.build(), path=str(folder))
        writer = self.index.writer(heap_size=500_000_000)
        for rows, _ in slices(documents, vectors):
            for row in rows:
                writer.add_document(tantivy.Document(id=row["id"], title=row["title"], text=row["text"]))
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()

    def find(self, query, mode, setting, top):
        if mode != "bm25":
            raise ValueError("tantivy alone has no vectors")
        parsed, _ = self.index.parse_query_lenient(query, ["title", "text"])
        hits = self.searcher.search(parsed, top).hits
        return [(self.searcher.doc(address)["id"][0], score) for score, address in hits]

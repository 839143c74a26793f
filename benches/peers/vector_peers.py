"""Vector searches of other libraries, each as its documentation says it is best used for ten nearest by cosine.

Every contender has `build`, which reads a file of f32 rows and says how long an index took and what it takes on disk, and `search`.
Rows and queries have length 1, so that inner products are cosines. `below` leaves rows whose bucket is below it; where a library knows
no attributes, the allowed rows are handed to it ready made, which costs it nothing here.
"""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import data
import numpy as np
from peer import folder_bytes

GRAPH_DEGREE = 32
GRAPH_BUILD = 100


def read(file: str, dimension: int) -> np.ndarray:
    return np.fromfile(file, dtype=np.float32).reshape(-1, dimension)


class Contender:
    """What all have in common: queries one after another on one thread, or all at once on all cores."""

    def build(self, rows: str, dimension: int, folder: str) -> dict:
        self.dimension = dimension
        values = read(rows, dimension)
        self.count = len(values)
        self.buckets = data.buckets(self.count)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        started = time.perf_counter()
        self.make(values, Path(folder))
        seconds = time.perf_counter() - started
        self.store(Path(folder))
        return {"seconds": seconds, "bytes": folder_bytes(folder)}

    def search(self, queries: str, k: int, ef: int | None, below: int | None, threads: int) -> dict:
        values = read(queries, self.dimension)
        self.prepare(ef, threads)
        if below is not None:
            self.allowed(below)
        if threads > 1:
            started = time.perf_counter()
            found = self.find_all(values, k, ef, below, threads)
            return {"ids": found, "seconds": [], "total": time.perf_counter() - started}
        found, seconds = [], []
        began = time.perf_counter()
        for at in range(len(values)):
            started = time.perf_counter()
            rows = self.find(values[at], k, ef, below)
            seconds.append(time.perf_counter() - started)
            found.append([int(row) for row in rows if row >= 0])
        return {"ids": found, "seconds": seconds, "total": time.perf_counter() - began}

    @lru_cache(maxsize=8)  # noqa: B019 - one contender lives as long as its process
    def allowed(self, below: int) -> np.ndarray:
        return np.flatnonzero(self.buckets < below)

    def make(self, rows: np.ndarray, folder: Path) -> None:
        raise NotImplementedError

    def store(self, folder: Path) -> None:
        """Writes the index, if `make` has not."""

    def prepare(self, ef: int | None, threads: int) -> None:
        """Settings that hold for all queries to come."""

    def find(self, query: np.ndarray, k: int, ef: int | None, below: int | None) -> np.ndarray:
        raise NotImplementedError

    def find_all(self, queries: np.ndarray, k: int, ef: int | None, below: int | None, threads: int) -> list[list[int]]:
        """A pool of threads, as a server has; libraries with a call of their own for many queries use that."""
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda query: self.find(query, k, ef, below), queries)
            return [[int(row) for row in rows if row >= 0] for rows in found]


class FaissFlat(Contender):
    def make(self, rows, folder):
        import faiss

        self.faiss = faiss
        self.index = faiss.IndexFlatIP(self.dimension)
        self.index.add(rows)

    def store(self, folder):
        self.faiss.write_index(self.index, str(folder / "faiss"))

    def prepare(self, ef, threads):
        self.faiss.omp_set_num_threads(threads)

    @lru_cache(maxsize=8)  # noqa: B019
    def selector(self, below):
        bits = np.packbits(self.buckets < below, bitorder="little")
        selector = self.faiss.IDSelectorBitmap(self.count, self.faiss.swig_ptr(bits))
        selector.kept = bits
        return selector

    def parameters(self, ef, below):
        return None if below is None else self.faiss.SearchParameters(sel=self.selector(below))

    def find(self, query, k, ef, below):
        return self.index.search(query[None], k, params=self.parameters(ef, below))[1][0]

    def find_all(self, queries, k, ef, below, threads):
        return self.index.search(queries, k, params=self.parameters(ef, below))[1].tolist()


class FaissHnsw(FaissFlat):
    def make(self, rows, folder):
        import faiss

        self.faiss = faiss
        self.index = faiss.IndexHNSWFlat(self.dimension, GRAPH_DEGREE, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = GRAPH_BUILD
        self.index.add(rows)

    def parameters(self, ef, below):
        if below is None:
            return self.faiss.SearchParametersHNSW(efSearch=ef)
        return self.faiss.SearchParametersHNSW(efSearch=ef, sel=self.selector(below))


class Usearch(Contender):
    """USearch's Python package searches without filters."""

    exact = False

    def make(self, rows, folder):
        from usearch.index import Index

        self.index = Index(
            ndim=self.dimension, metric="ip", dtype="f32", connectivity=GRAPH_DEGREE, expansion_add=GRAPH_BUILD
        )
        self.index.add(np.arange(self.count, dtype=np.uint64), rows)

    def store(self, folder):
        self.index.save(str(folder / "usearch"))

    def prepare(self, ef, threads):
        if ef is not None:
            self.index.expansion_search = ef

    def find(self, query, k, ef, below):
        if below is not None:
            raise ValueError("usearch's Python package has no filter")
        return self.index.search(query, k, threads=1).keys

    def find_all(self, queries, k, ef, below, threads):
        if below is not None:
            raise ValueError("usearch's Python package has no filter")
        return self.index.search(queries, k, threads=threads).keys.tolist()


class Hnswlib(Contender):
    def make(self, rows, folder):
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=self.dimension)
        self.index.init_index(self.count, M=GRAPH_DEGREE, ef_construction=GRAPH_BUILD)
        self.index.add_items(rows, np.arange(self.count))

    def store(self, folder):
        self.index.save_index(str(folder / "hnswlib"))

    def prepare(self, ef, threads):
        self.index.set_ef(ef)

    def keep(self, below):
        buckets = self.buckets
        return None if below is None else lambda row: buckets[row] < below

    def find(self, query, k, ef, below):
        return self.index.knn_query(query, k, num_threads=1, filter=self.keep(below))[0][0].astype(np.int64)

    def find_all(self, queries, k, ef, below, threads):
        # A filter is a function of Python's, which threads would wait for.
        threads = 1 if below is not None else threads
        return self.index.knn_query(queries, k, num_threads=threads, filter=self.keep(below))[0].tolist()


class LanceFlat(Contender):
    def make(self, rows, folder):
        import lancedb
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), self.dimension)
        table = pa.table({"row": np.arange(self.count), "bucket": self.buckets, "vector": vectors})
        self.table = lancedb.connect(str(folder)).create_table("rows", table)
        self.table.create_scalar_index("bucket", index_type="BTREE")
        self.index_rows()
        self.table.optimize()

    def index_rows(self):
        pass

    def query(self, query, ef):
        return self.table.search(query).distance_type("cosine").bypass_vector_index()

    def find(self, query, k, ef, below):
        search = self.query(query, ef)
        if below is not None:
            search = search.where(f"bucket < {below}", prefilter=True)
        return search.limit(k).select(["row", "_distance"]).to_arrow()["row"].to_numpy()


class LanceHnsw(LanceFlat):
    """One partition, so that all of it is one graph, as the others have; rows in int8 in it, and twice as many looked at again in f32."""

    def index_rows(self):
        self.table.create_index(
            metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ", num_partitions=1,
            m=GRAPH_DEGREE, ef_construction=GRAPH_BUILD,
        )

    def query(self, query, ef):
        return self.table.search(query).distance_type("cosine").nprobes(1).ef(ef).refine_factor(2)


class QdrantFlat(Contender):
    exact = True

    def make(self, rows, folder):
        import qdrant_edge as qdrant

        self.qdrant = qdrant
        # In one segment, as the others have it; an index over every row.
        config = qdrant.EdgeConfig(
            vectors=qdrant.EdgeVectorParams(size=self.dimension, distance=qdrant.Distance.Dot),
            hnsw_config=qdrant.HnswIndexConfig(
                m=GRAPH_DEGREE, ef_construct=GRAPH_BUILD, full_scan_threshold=10_000, max_indexing_threads=0
            ),
            optimizers=qdrant.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=2**31 if self.exact else 1, max_segment_size=2**31
            ),
            wal_enabled=False,
        )
        self.shard = qdrant.EdgeShard.create(str(folder), config)
        index = qdrant.UpdateOperation.create_field_index("bucket", qdrant.PayloadSchemaType.Integer)
        self.shard.update(index)
        for start in range(0, self.count, 1000):
            part = range(start, min(start + 1000, self.count))
            points = [qdrant.Point(at, rows[at].tolist(), {"bucket": int(self.buckets[at])}) for at in part]
            self.shard.update(qdrant.UpdateOperation.upsert_points(points))
        self.shard.optimize()
        self.shard.flush()

    def request(self, query, k, ef, below):
        qdrant = self.qdrant
        kept = None
        if below is not None:
            kept = qdrant.Filter(must=[qdrant.FieldCondition(key="bucket", range=qdrant.RangeFloat(lt=below))])
        params = qdrant.SearchParams(exact=True) if self.exact else qdrant.SearchParams(hnsw_ef=ef)
        return qdrant.QueryRequest(limit=k, query=qdrant.Query.Nearest(query.tolist()), filter=kept, params=params)

    def find(self, query, k, ef, below):
        return np.array([point.id for point in self.shard.query(self.request(query, k, ef, below))], dtype=np.int64)

    def find_all(self, queries, k, ef, below, threads):
        if not self.exact:
            return super().find_all(queries, k, ef, below, threads)
        requests = [self.request(query, k, ef, below) for query in queries]
        found = self.shard.query_batch(self.qdrant.QueryBatchRequest(requests))
        return [[point.id for point in points] for points in found]


class QdrantHnsw(QdrantFlat):
    exact = False

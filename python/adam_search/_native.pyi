from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, final, overload

import numpy as np
from numpy.typing import NDArray

__version__: str

__all__ = [
    "Arm",
    "Collection",
    "CommitReport",
    "Comparison",
    "Documents",
    "Encoder",
    "Evaluation",
    "Gathering",
    "Hit",
    "Hits",
    "Index",
    "PairScorer",
    "Request",
    "Snippet",
    "__version__",
    "compare",
    "evaluate",
    "read_shards",
]

_Path: TypeAlias = str | PathLike[str]
_Names: TypeAlias = str | Sequence[str]
_Mode: TypeAlias = Literal["hybrid", "bm25", "dense"]
_Fusion: TypeAlias = Literal["convex", "rrf", "min-max", "z-score", "dbsf"]
_Kind: TypeAlias = Literal["document", "passage", "query"]
_Precision: TypeAlias = Literal["f32", "int8", "f16"]
_OnFailure: TypeAlias = Literal["fail", "skip", "text-only"]
_Floats: TypeAlias = NDArray[np.float32]

class _Bar(Protocol):
    def update(self, n: int, /) -> object: ...

_Progress: TypeAlias = bool | _Bar | Callable[[int, int], object]

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

class _ArrowArray(Protocol):
    def __arrow_c_array__(self, requested_schema: Any = None) -> Any: ...

_Texts: TypeAlias = Iterable[str] | _ArrowStream | _ArrowArray
_Rows: TypeAlias = Iterable[Mapping[str, Any]] | _ArrowStream | _ArrowArray
_Qrels: TypeAlias = Mapping[str, Mapping[str, int]] | _Path
_Run: TypeAlias = Mapping[str, Mapping[str, float]] | _Path
_Reranker: TypeAlias = PairScorer | _Path | Callable[[str, list[str]], Sequence[float]]

@final
class Encoder:
    def __new__(
        cls,
        model: _Path,
        *,
        precision: _Precision | None = None,
        max_length: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        normalize: bool | None = None,
        threads: int = 0,
        provider: _Names | None = None,
    ) -> Encoder: ...
    def encode(
        self, texts: _Texts, *, kind: _Kind = "document", out: _Floats | None = None, progress: _Progress | None = None
    ) -> _Floats: ...
    def encode_query(self, texts: _Texts, *, out: _Floats | None = None, progress: _Progress | None = None) -> _Floats: ...
    def encode_document(
        self, texts: _Texts, *, out: _Floats | None = None, progress: _Progress | None = None
    ) -> _Floats: ...
    @property
    def dimension(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...

@final
class PairScorer:
    def __new__(
        cls,
        model: _Path,
        *,
        precision: _Precision | None = None,
        max_length: int | None = None,
        threads: int = 0,
        provider: _Names | None = None,
    ) -> PairScorer: ...
    def score(self, pairs: Iterable[tuple[str, str]], *, progress: _Progress | None = None) -> _Floats: ...
    def rank(
        self, query: str, texts: _Texts, *, top: int | None = None, progress: _Progress | None = None
    ) -> list[tuple[int, float]]: ...
    @property
    def max_length(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...

def read_shards(index: _Path) -> tuple[int, str, list[Path]] | None: ...
@final
class Request:
    def __new__(
        cls,
        query: str,
        mode: _Mode = "hybrid",
        top: int = 10,
        offset: int = 0,
        filter: _Names | None = None,
        weight: float | None = None,
        fusion: _Fusion = "convex",
        window: int | None = None,
        snippets: bool = True,
        total: bool = False,
        vector: Sequence[float] | _Floats | None = None,
    ) -> Request: ...
    @property
    def query(self) -> str: ...
    @property
    def vector(self) -> list[float] | None: ...
    def __reduce__(self) -> tuple[type[Request], tuple[Any, ...]]: ...

@final
class Gathering:
    def __new__(cls, request: Request, statistics: Sequence[bytes]) -> Gathering: ...
    @property
    def statistics(self) -> bytes: ...
    @property
    def window(self) -> int | None: ...
    def add(self, candidates: Sequence[bytes]) -> None: ...
    @property
    def ids(self) -> list[list[str]]: ...
    def hits(self, fetched: Sequence[bytes]) -> Hits: ...

@final
class Index:
    @staticmethod
    def create(
        path: _Path,
        model: Encoder | _Path,
        *,
        language: str | None = None,
        chunk_tokens: int | None = None,
        chunk_overlap: int | None = None,
        reranker: _Reranker | None = None,
        on_failure: _OnFailure = "fail",
        exist_ok: bool = False,
    ) -> Index: ...
    @staticmethod
    def open(
        path: _Path,
        *,
        model: Encoder | _Path | None = None,
        reranker: _Reranker | None = None,
        threads: int = 0,
        provider: _Names | None = None,
        lexical: bool = False,
        on_failure: _OnFailure = "fail",
    ) -> Index: ...
    @staticmethod
    def exists(path: _Path) -> bool: ...
    def add(
        self,
        rows: _Rows,
        *,
        id: str | None = None,
        title: str | None = None,
        text: str | None = None,
        vector: str | None = None,
        keep: Sequence[str] | None = None,
        progress: _Progress | None = None,
    ) -> int: ...
    def update(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        id: str | None = None,
        title: str | None = None,
        text: str | None = None,
    ) -> int: ...
    def delete(self, ids: _Names | None = None, *, filter: _Names | None = None) -> None: ...
    def commit(self) -> CommitReport: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Index: ...
    def __exit__(self, kind: Any, value: Any, traceback: Any, /) -> Literal[False]: ...
    def encode_query(self, query: str) -> list[float]: ...
    def statistics(self, request: Request) -> bytes: ...
    def candidates(self, request: Request, statistics: bytes, window: int) -> bytes: ...
    def fetch(self, request: Request, ids: Sequence[str]) -> bytes: ...
    @overload
    def search(
        self,
        query: str,
        *,
        mode: _Mode = "hybrid",
        top: int = 10,
        offset: int = 0,
        filter: _Names | None = None,
        weight: float | None = None,
        fusion: _Fusion = "convex",
        window: int | None = None,
        explain: bool = False,
        snippets: bool = True,
        total: bool = False,
        rerank: int | None = None,
    ) -> Hits: ...
    @overload
    def search(
        self,
        query: list[str] | tuple[str, ...] | _ArrowStream | _ArrowArray,
        *,
        mode: _Mode = "hybrid",
        top: int = 10,
        offset: int = 0,
        filter: _Names | None = None,
        weight: float | None = None,
        fusion: _Fusion = "convex",
        window: int | None = None,
        explain: bool = False,
        snippets: bool = True,
        total: bool = False,
        rerank: int | None = None,
    ) -> list[Hits]: ...
    def rank(
        self,
        queries: dict[str, str],
        *,
        mode: _Mode = "hybrid",
        top: int = 100,
        filter: _Names | None = None,
        weight: float | None = None,
        fusion: _Fusion = "convex",
        window: int | None = None,
        rerank: int | None = None,
        progress: _Progress | None = None,
    ) -> dict[str, dict[str, float]]: ...
    def get(self, id: str) -> dict[str, Any] | None: ...
    def ids(self) -> list[str]: ...
    def reload(self) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, id: str, /) -> bool: ...
    def __bool__(self) -> bool: ...
    @property
    def path(self) -> Path: ...
    @property
    def model(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def language(self) -> str | None: ...
    @property
    def hybrid_weight(self) -> float: ...

@final
class CommitReport:
    @property
    def documents(self) -> int: ...
    @property
    def encoded(self) -> int: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def reused(self) -> int: ...
    @property
    def without_text(self) -> int: ...
    @property
    def failures(self) -> list[tuple[str, str]]: ...

@final
class Hits:
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> Hit: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Hit]: ...
    def __iter__(self) -> Iterator[Hit]: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...
    def to_dicts(self) -> list[dict[str, Any]]: ...
    def _repr_html_(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def ids(self) -> list[str]: ...
    @property
    def took_ms(self) -> float: ...
    @property
    def total(self) -> int | None: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class Hit:
    def to_dict(self) -> dict[str, Any]: ...
    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str | None: ...
    @property
    def score(self) -> float: ...
    @property
    def snippet(self) -> Snippet | None: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def arms(self) -> list[Arm]: ...
    @property
    def explanation(self) -> dict[str, Any] | None: ...

@final
class Snippet:
    def _repr_html_(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def matches(self) -> list[str]: ...
    @property
    def highlights(self) -> list[tuple[int, int]]: ...
    @property
    def chunk(self) -> tuple[int, int] | None: ...

@final
class Arm:
    @property
    def name(self) -> str: ...
    @property
    def rank(self) -> int | None: ...
    @property
    def raw(self) -> float | None: ...
    @property
    def normalised(self) -> float: ...
    @property
    def weight(self) -> float: ...

@final
class Collection:
    def __new__(
        cls,
        path: _Path | Sequence[_Path],
        *,
        id: str | None = None,
        title: str | None = None,
        text: str | None = None,
        keep: _Names | None = None,
        on_wrong_line: Literal["stop", "skip"] = "stop",
    ) -> Collection: ...
    def documents(self) -> Documents: ...
    def queries(self) -> dict[str, str]: ...
    def qrels(self, split: str = "test") -> dict[str, dict[str, int]]: ...
    @property
    def splits(self) -> list[str]: ...
    @property
    def name(self) -> str: ...

@final
class Documents:
    def __iter__(self) -> Documents: ...
    def __next__(self) -> dict[str, Any]: ...

@final
class Evaluation:
    def mean(self, metric: str) -> float: ...
    def per_query(self, metric: str) -> dict[str, float]: ...
    def to_dict(self) -> dict[str, float]: ...
    def __getitem__(self, metric: str, /) -> float: ...
    def _repr_html_(self) -> str: ...
    @property
    def metrics(self) -> list[str]: ...
    @property
    def num_queries(self) -> int: ...
    @property
    def without_results(self) -> int: ...

@final
class Comparison:
    @property
    def difference(self) -> float: ...
    @property
    def p_value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def num_queries(self) -> int: ...
    @property
    def metric(self) -> str: ...

def evaluate(
    qrels: _Qrels,
    run: _Run,
    metrics: Sequence[str] | None = None,
    *,
    missing: Literal["zero", "skip"] = "zero",
    drop_self: bool = False,
) -> Evaluation: ...
def compare(
    a: Evaluation,
    b: Evaluation,
    metric: str = "ndcg@10",
    *,
    permutations: int = 10_000,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 42,
) -> Comparison: ...

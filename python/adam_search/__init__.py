"""Hybrid search by BM25 and vectors, sentence encoders, re-rankers, evaluation and training.

    import adam_search as adam

    index = adam.Index.create("birds-index", model="student")
    index.add([{"id": "crow", "text": "Crows bend wire into hooks."}])
    index.commit()
    index.search("birds that use tools")
"""

from ._errors import AdamError, InputError, LockedError, ModelError, StorageError
from ._native import (
    Arm,
    Collection,
    CommitReport,
    Comparison,
    Documents,
    Encoder,
    Evaluation,
    Gathering,
    Hit,
    Hits,
    Index,
    PairScorer,
    Request,
    Snippet,
    __version__,
    compare,
    evaluate,
)
from ._train import Training, TrainProgress, export, train

__all__ = [
    "AdamError",
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
    "InputError",
    "LockedError",
    "ModelError",
    "PairScorer",
    "Request",
    "Snippet",
    "StorageError",
    "TrainProgress",
    "Training",
    "__version__",
    "compare",
    "evaluate",
    "export",
    "train",
]

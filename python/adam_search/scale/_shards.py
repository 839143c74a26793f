"""The list of an index's shards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .._errors import StorageError
from .._native import Index
from .._native import read_shards as read


class Shards(NamedTuple):
    """The shards of an index."""

    generation: int
    """Counts the jobs that made shards there, from 1; 0 for an index in one piece."""
    model: str
    """Fingerprint of the model of all of them."""
    folders: tuple[Path, ...]
    """Their folders, by their numbers."""


def read_shards(index: str | os.PathLike[str]) -> Shards:
    """Reads which shards an index has. One in one piece is a shard of itself.

    Args:
        index: Folder of the index.

    A shard that is missing, or of another generation or model, is a StorageError that names it.
    """
    if (found := read(index)) is not None:
        generation, model, folders = found
        return Shards(generation, model, tuple(folders))
    if Index.exists(index):
        return Shards(0, "", (Path(index),))
    raise StorageError(f"{index}: there is no index; make one by adam_search.scale.build or `adam shard`")

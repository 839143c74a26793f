"""Indexes of several shards on several machines, by Ray: built by many workers, searched by many replicas.

    import ray
    from adam_search import scale

    ray.init()
    scale.build("corpus.jsonl", model="student", index="sharded", shards=4)
    service = scale.serve("sharded", replicas=2, port=8080)

Scheduling, restarts and transport are Ray's. A shard is an index of its own, made by one call of the program `adam`, and a replica of a
shard is a Ray actor that has it open. Answers are those of one index with all documents, see `Gathering`.

Needs `ray[serve]`: pip install 'adam-search[ray]'. All nodes need the folder of the index, on storage that they share.
"""

from ._build import build
from ._serve import Service, application, serve
from ._shards import Shards, read_shards

__all__ = ["Service", "Shards", "application", "build", "read_shards", "serve"]

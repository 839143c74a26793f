"""A replica of a shard, and the one who keeps them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, NamedTuple

from .._native import Index, Request
from ._ray import ray
from ._shards import Shards, read_shards

# Ray's namespace of keepers and replicas, so that any driver finds them.
NAMESPACE = "adam_search"
# How long replicas may take to open their shards, in seconds.
_OPENING = 300.0
# How long a generation is kept after the next one answers: longer than a request takes.
_DRAIN = 30.0


class Replica:
    """A shard that is open, in a process of its own. Its threads answer at the same time."""

    def __init__(self, folder: str) -> None:
        # Queries come encoded, so it needs no model.
        self._index = Index.open(folder, lexical=True)

    def ready(self) -> int:
        """The number of documents."""
        return len(self._index)

    def process(self) -> int:
        """The process, for those who watch it."""
        return os.getpid()

    def statistics(self, request: Request) -> bytes:
        return self._index.statistics(request)

    def candidates(self, request: Request, statistics: bytes, window: int) -> bytes:
        return self._index.candidates(request, statistics, window)

    def fetch(self, request: Request, ids: list[str]) -> bytes:
        return self._index.fetch(request, ids)


class Table(NamedTuple):
    """Who answers for which shard."""

    generation: int
    replicas: tuple[tuple[Any, ...], ...]
    """By shard: its replicas, as handles of actors."""
    first: str
    """The folder of the first shard, which names the model of all."""


class Keeper:
    """Starts the replicas of an index, and those of the next generation once its list of shards is written.

    Replicas that die are started again by Ray.
    """

    def __init__(self, name: str, index: str, replicas: int, cpus: float, threads: int) -> None:
        self._name = name
        self._index = index
        self._count = replicas
        # Detached and named, so that they go on without their keeper, and one that is started again finds them.
        self._options = {
            "num_cpus": cpus,
            "max_restarts": -1,
            "max_concurrency": threads,
            "lifetime": "detached",
            "namespace": NAMESPACE,
            "get_if_exists": True,
        }
        self._table: Table | None = None
        self._shards: Shards | None = None
        self._problem: str | None = None
        self._old: list[tuple[float, Table]] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> Table:
        """The first generation; an error where it cannot be opened."""
        if self._table is None:
            await self._open(await asyncio.to_thread(read_shards, self._index))
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        assert self._table is not None
        return self._table

    async def table(self) -> Table:
        """The generation that answers now."""
        return await self.start()

    async def state(self) -> dict[str, Any]:
        """For those who watch: the generation, and why a newer one is not opened."""
        table = await self.start()
        return {"generation": table.generation, "shards": len(table.replicas), "replicas": self._count, "problem": self._problem}

    async def _open(self, shards: Shards) -> None:
        actor = ray().remote(Replica)

        def replica(number: int, folder: str, copy: int) -> Any:
            name = f"{self._name}/{shards.generation}/{number:04}/{copy}"
            return actor.options(name=name, **self._options).remote(folder)

        replicas = tuple(
            tuple(replica(number, str(folder), copy) for copy in range(self._count))
            for number, folder in enumerate(shards.folders)
        )
        table = Table(shards.generation, replicas, str(shards.folders[0]))
        try:
            ready = [replica.ready.remote() for several in replicas for replica in several]
            await asyncio.wait_for(asyncio.gather(*ready), _OPENING)
        except BaseException:
            _end(table)
            raise
        if self._table is not None:
            self._old.append((time.monotonic() + _DRAIN, self._table))
        self._table, self._shards = table, shards

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                shards = await asyncio.to_thread(read_shards, self._index)
                if shards != self._shards:
                    await self._open(shards)
                self._problem = None
            except Exception as fault:
                # The generation before goes on answering.
                self._problem = str(fault)
            due = [table for until, table in self._old if until < time.monotonic()]
            self._old = [(until, table) for until, table in self._old if until >= time.monotonic()]
            for table in due:
                _end(table)


def _end(table: Table) -> None:
    for several in table.replicas:
        for replica in several:
            ray().kill(replica)

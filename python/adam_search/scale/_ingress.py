"""The way in: searches over HTTP, each put together from the answers of all shards."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .._errors import AdamError, InputError
from .._native import Gathering, Hits, Index, Request
from ._ray import ray
from ._replica import Table

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

# What a search may say, and what it must be, as the search of `adam serve`.
_OPTIONS: dict[str, tuple[type, ...]] = {
    "query": (str,),
    "mode": (str,),
    "top": (int,),
    "offset": (int,),
    "window": (int,),
    "total": (bool,),
    "filters": (list, str),
    "filter": (list, str),
    "weight": (int, float),
    "fusion": (str,),
    "vector": (list,),
    "partial": (bool,),
}
# Longest body of a request, in bytes, as of `adam serve`.
_MAX_BODY = 1 << 20
# Queries whose statistics are kept, and for how many seconds: after a commit they are that old at most.
_KEPT, _FRESH = 10_000, 5.0
# After how many seconds without an answer another replica is asked as well, and after how many a shard is given up.
_SLOW, _PATIENCE = 0.5, 10.0


class Unavailable(AdamError):
    """No replica of a shard answers."""

    def __init__(self, shard: int) -> None:
        super().__init__(f"shard {shard:04} does not answer")
        self.shard = shard


class Ingress:
    """Answers searches over HTTP. Any number of them may be at work."""

    def __init__(self, keeper: Any, partial: bool) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._keeper = keeper
        self._partial = partial
        self._table: Table | None = None
        self._encoder: Index | None = None
        self._looked = 0.0
        self._turn = itertools.count()
        self._statistics: OrderedDict[tuple[Any, ...], tuple[float, list[bytes]]] = OrderedDict()
        self._registry = CollectorRegistry()
        self._searches = Counter("adam_searches", "Searches, by their status.", ["status"], registry=self._registry)
        self._seconds = Histogram("adam_search_seconds", "Seconds of a search.", registry=self._registry)
        self._calls = Counter("adam_shard_calls", "Calls of shards.", ["shard", "call"], registry=self._registry)
        self._failures = Counter("adam_shard_failures", "Calls that a replica did not answer.", ["shard"], registry=self._registry)
        self._shard_seconds = Histogram(
            "adam_shard_seconds", "Seconds of a call of a shard.", ["shard"], registry=self._registry
        )

    async def __call__(self, http: HttpRequest) -> Response:
        from starlette.responses import JSONResponse, Response

        route = http.url.path.removeprefix(http.scope.get("root_path", "")).rstrip("/") or "/"
        try:
            if route == "/search" and http.method in ("GET", "POST"):
                began = time.perf_counter()
                answer = await self._search(await _options(http))
                self._seconds.observe(time.perf_counter() - began)
                self._searches.labels("200").inc()
                return JSONResponse(answer)
            if route in ("/health", "/ready"):
                await self._routes()
                return JSONResponse({"status": "ok"})
            if route == "/info":
                return JSONResponse(await self._keeper.state.remote())
            if route == "/metrics":
                from prometheus_client import generate_latest

                return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")
            return _refusal(404, f"there is no {http.method} {route}; there are /search, /info, /health, /ready and /metrics")
        except InputError as fault:
            return self._refused(400, str(fault))
        except (AdamError, ray().exceptions.RayError) as fault:
            return self._refused(503, str(fault).splitlines()[0])

    def _refused(self, status: int, message: str) -> Response:
        self._searches.labels(str(status)).inc()
        return _refusal(status, message)

    async def _routes(self) -> Table:
        """Who answers now. The keeper is asked once a second."""
        now = time.monotonic()
        if self._table is None or now - self._looked > 1.0:
            self._looked = now
            try:
                table: Table = await self._keeper.table.remote()
            except ray().exceptions.RayError:
                # It is started again; what it said last holds until then.
                if self._table is None:
                    raise
                return self._table
            if self._encoder is None or self._table is None or table.first != self._table.first:
                self._encoder = await asyncio.to_thread(Index.open, table.first)
            self._table = table
        return self._table

    async def _search(self, options: dict[str, Any]) -> dict[str, Any]:
        table = await self._routes()
        may_lack = bool(options.pop("partial", self._partial))
        filters = options.pop("filters", None) or options.pop("filter", None)
        options.pop("filter", None)
        if "query" not in options:
            raise InputError("the search has no query; give it as `query`")
        if options.get("mode", "hybrid") != "bm25" and "vector" not in options:
            # Refuses wrong options before the model works.
            Request(**options, filter=filters)
            assert self._encoder is not None
            options["vector"] = await asyncio.to_thread(self._encoder.encode_query, options["query"])
        request = Request(**options, filter=filters)
        kept_as = (table.generation, options["query"], options.get("mode"), str(filters), options.get("total"))
        began = time.perf_counter()
        lacking: set[int] = set()
        while True:
            try:
                hits = await self._hits(table, request, kept_as, lacking)
                break
            except Unavailable as fault:
                if not may_lack or len(lacking) + 1 == len(table.replicas):
                    raise
                lacking.add(fault.shard)
        answer: dict[str, Any] = {"took_ms": (time.perf_counter() - began) * 1e3, "hits": hits.to_dicts()}
        if hits.total is not None:
            answer["total"] = hits.total
        if lacking:
            answer["partial"] = [f"{shard:04}" for shard in sorted(lacking)]
        answer["warnings"] = hits.warnings
        return answer

    async def _hits(self, table: Table, request: Request, kept_as: tuple[Any, ...], lacking: set[int]) -> Hits:
        shards = [shard for shard in range(len(table.replicas)) if shard not in lacking]

        async def of_all(call: str, *given: Any) -> list[bytes]:
            return await _all([self._ask(table, shard, call, request, *given) for shard in shards])

        key = (*kept_as, tuple(shards))
        known = self._statistics.get(key)
        if known is None or time.monotonic() - known[0] > _FRESH:
            known = (time.monotonic(), await of_all("statistics"))
            self._statistics[key] = known
            while len(self._statistics) > _KEPT:
                self._statistics.popitem(last=False)
        gathering = Gathering(request, known[1])
        while (window := gathering.window) is not None:
            gathering.add(await of_all("candidates", gathering.statistics, window))
        wanted = list(zip(shards, gathering.ids, strict=True))
        fetched = await _all([self._ask(table, shard, "fetch", request, ids) for shard, ids in wanted if ids])
        answers = iter(fetched)
        return gathering.hits([next(answers) if ids else b"[]" for _, ids in wanted])

    async def _ask(self, table: Table, shard: int, call: str, *given: Any) -> bytes:
        """A call of a shard: of one replica, and of the next where that fails or is slow; the first answer counts."""
        replicas = table.replicas[shard]
        first = next(self._turn)
        left = [replicas[(first + attempt) % len(replicas)] for attempt in range(len(replicas))]
        label = f"{shard:04}"
        self._calls.labels(label, call).inc()
        began = time.perf_counter()
        asked: set[asyncio.Task[bytes]] = set()
        try:
            while (waited := time.perf_counter() - began) < _PATIENCE and (left or asked):
                if left:
                    asked.add(asyncio.create_task(_answer(getattr(left.pop(0), call).remote(*given))))
                patience = _SLOW if left else _PATIENCE - waited
                done, asked = await asyncio.wait(asked, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    fault = task.exception()
                    if fault is None:
                        self._shard_seconds.labels(label).observe(time.perf_counter() - began)
                        return task.result()
                    if isinstance(fault, ray().exceptions.RayTaskError):
                        # What the shard itself says, any replica would.
                        raise fault.cause if isinstance(fault.cause, AdamError) else fault
                    if not isinstance(fault, ray().exceptions.RayError):
                        raise fault
                    self._failures.labels(label).inc()
        finally:
            for task in asked:
                task.cancel()
        raise Unavailable(shard)


async def _answer(reference: Awaitable[bytes]) -> bytes:
    return await reference


async def _all(calls: list[Awaitable[bytes]]) -> list[bytes]:
    """All answers, or the first error once all have ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _refusal(status: int, message: str) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": message}, status_code=status)


def _number(kind: Callable[[str], Any], name: str, text: str) -> Any:
    try:
        return kind(text)
    except ValueError as fault:
        raise InputError(f"`{name}` is not a number: {text[:40]!r}") from fault


async def _options(http: HttpRequest) -> dict[str, Any]:
    """What a request asks for: by its body, or by its link."""
    given: dict[str, Any] = {}
    if http.method == "POST":
        body = bytearray()
        async for piece in http.stream():
            body += piece
            if len(body) > _MAX_BODY:
                raise InputError(f"the body is larger than {_MAX_BODY} bytes")
        try:
            given = json.loads(body)
        except ValueError as fault:
            raise InputError(f"the body is no JSON: {fault}") from fault
        if not isinstance(given, dict):
            raise InputError("the body is no JSON object; a search is one, such as {\"query\": \"crows\"}")
    else:
        for name, text in http.query_params.multi_items():
            name = {"q": "query"}.get(name, name)
            kinds = _OPTIONS.get(name, ())
            if list in kinds:
                given.setdefault(name, []).append(text)
            elif kinds == (bool,):
                given[name] = text.lower() in ("true", "1", "")
            elif kinds == (int,):
                given[name] = _number(int, name, text)
            elif float in kinds:
                given[name] = _number(float, name, text)
            else:
                given[name] = text
    for name, value in given.items():
        if name not in _OPTIONS:
            raise InputError(f"a search over several machines has no `{name}`; it has {', '.join(_OPTIONS)}")
        kinds = _OPTIONS[name]
        # True is an int to Python.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InputError(f"`{name}` is {json.dumps(value)[:40]}; it must be {' or '.join(kind.__name__ for kind in kinds)}")
    return given

"""Serving an index of several shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .._errors import AdamError, InputError
from ._ingress import Ingress
from ._ray import ray
from ._replica import NAMESPACE, Keeper
from ._shards import read_shards


class Service:
    """An index that is served. It goes on after this object, until `stop`."""

    def __init__(self, name: str, url: str, keeper: Any) -> None:
        self.name = name
        """Its name among the applications of Ray Serve."""
        self.url = url
        """Where it answers on this node."""
        self._keeper = keeper

    def state(self) -> dict[str, Any]:
        """The generation that answers, the numbers of shards and replicas, and why a newer generation is not opened."""
        state: dict[str, Any] = ray().get(self._keeper.state.remote())
        return state

    def replicas(self) -> list[list[Any]]:
        """By shard, its replicas: actors of Ray."""
        return [list(several) for several in ray().get(self._keeper.table.remote()).replicas]

    def stop(self) -> None:
        """Ends it."""
        ray_serve = _ray_serve()

        ray_serve.delete(self.name)
        table = ray().get(self._keeper.table.remote())
        for several in table.replicas:
            for replica in several:
                ray().kill(replica)
        ray().kill(self._keeper)
        # Ray Serve listens at one port for all applications, until its end.
        if not ray_serve.status().applications:
            ray_serve.shutdown()

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {self.url!r})"


def serve(
    index: str | os.PathLike[str],
    *,
    replicas: int = 2,
    host: str = "127.0.0.1",
    port: int = 8080,
    cpus: float = 1,
    threads: int = 4,
    partial: bool = False,
    ingress: int | Mapping[str, Any] = 1,
    ingress_cpus: float = 1,
    name: str = "adam",
    prefix: str = "/",
) -> Service:
    """Serves an index over HTTP from replicas of its shards.

    Routes: `/search` (GET and POST, with the options of `adam serve` that a search over several machines has), `/info`, `/health`,
    `/ready`, `/metrics`. A call that a replica does not answer is made again of another. When `SHARDS` names a new generation, its shards
    are opened beside the old ones, which answer until then.

    Args:
        index: Folder of the index, on storage that all nodes share.
        replicas: Replicas of each shard. With one, searches are refused while Ray starts it again.
        host: Address to listen at.
        port: Port to listen at. Where Ray Serve runs already, it stays with its own.
        cpus: Cores that a replica takes; less than 1 shares a core.
        threads: Calls that a replica works on at the same time.
        partial: Whether searches are answered without a shard of which no replica answers; such an answer names it in `partial`. A search
            may ask for either by its own `partial`.
        ingress: How many processes take requests and encode queries, or how Ray Serve scales them, such as
            {"min_replicas": 1, "max_replicas": 8}.
        ingress_cpus: Cores that each of these takes.
        name: Name among the applications of Ray Serve.
        prefix: What stands before the routes, so that several indexes can be served at one port: "/birds" for `/birds/search`.
    """
    ray_serve = _ray_serve()

    # Before anything is started.
    read_shards(index)
    if not ray().is_initialized():
        ray().init()
    app = application(
        {
            "index": os.fspath(index),
            "replicas": replicas,
            "cpus": cpus,
            "threads": threads,
            "partial": partial,
            "ingress": ingress,
            "ingress_cpus": ingress_cpus,
            "name": name,
        }
    )
    ray_serve.start(http_options={"host": host, "port": port})
    ray_serve.run(app, name=name, route_prefix=prefix)
    keeper = ray().get_actor(_keeper_name(name), NAMESPACE)
    return Service(name, f"http://{host}:{port}{prefix.rstrip('/')}", keeper)


def application(args: dict[str, Any]) -> Any:
    """What `serve` serves, for a configuration of Ray Serve: `import_path: adam_search.scale:application`.

    Args:
        args: `index`, and as far as they are wanted `replicas`, `cpus`, `threads`, `partial`, `ingress`, `ingress_cpus` and `name`, as of
            `serve`.

    Returns:
        An application of Ray Serve. The index is open when this returns.
    """
    ray_serve = _ray_serve()

    known = {"index", "replicas", "cpus", "threads", "partial", "ingress", "ingress_cpus", "name"}
    if strange := sorted(set(args) - known):
        raise InputError(f"`{strange[0]}` is no option of adam_search.scale; there are {', '.join(sorted(known))}")
    if "index" not in args:
        raise InputError("adam_search.scale needs `index`, the folder of the index")
    keeper_name = _keeper_name(str(args.get("name", "adam")))
    actor = ray().remote(Keeper).options(
        num_cpus=0, max_restarts=-1, name=keeper_name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True
    )
    keeper = actor.remote(
        str(args.get("name", "adam")),
        os.path.abspath(args["index"]),
        int(args.get("replicas", 2)),
        float(args.get("cpus", 1)),
        int(args.get("threads", 4)),
    )
    try:
        ray().get(keeper.start.remote())
    except ray().exceptions.RayTaskError as fault:
        ray().kill(keeper)
        if isinstance(fault.cause, AdamError):
            raise fault.cause from fault
        raise
    ingress = args.get("ingress", 1)
    scaling = {"num_replicas": ingress} if isinstance(ingress, int) else {"autoscaling_config": dict(ingress)}
    deployment = ray_serve.deployment(Ingress).options(
        name="ingress",
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": float(args.get("ingress_cpus", 1))},
        **scaling,
    )
    return deployment.bind(keeper, bool(args.get("partial", False)))


def _ray_serve() -> Any:
    """Ray Serve, whose functions have no types."""
    from ray import serve

    return serve


def _keeper_name(name: str) -> str:
    return f"{name}-keeper"

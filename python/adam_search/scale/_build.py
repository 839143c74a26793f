"""Shards made by Ray's workers."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from .._errors import AdamError, InputError, LockedError, StorageError
from .._program import find, onnxruntime
from ._ray import ray

_Path: TypeAlias = str | os.PathLike[str]

# How long a unit waits for one whose worker was killed and has not ended yet.
_PATIENCE = 60.0


def build(
    data: _Path | Sequence[_Path],
    *,
    model: _Path,
    index: _Path,
    shards: int,
    by: Literal["hash", "range"] = "hash",
    language: str | None = None,
    options: Sequence[str] = (),
    cpus: float = 1,
    gpus: float = 0,
    retries: int = 3,
    progress: Callable[[int, int], object] | None = None,
    program: _Path | None = None,
) -> Path:
    """Makes an index of several shards, each by a task of Ray that runs `adam shard --part N/OF`.

    Call it again after whatever ended it: shards that are whole are left as they are, and one that was begun goes on from its last
    commit. Nothing of the index passes through this process, so its memory does not grow with the data.

    Args:
        data: Documents, as `adam index` reads them, at the same path on every node: a file, or several.
        model: Folder of the model, or a Hugging Face id.
        index: Folder of the index, on storage that all nodes share.
        shards: How many shards.
        by: How documents are placed: by the "hash" of their id, so that they can be updated later, or by "range" of rows.
        language: Language of the text. Default: english.
        options: Further options of `adam shard`, such as ["--chunk-tokens", "256"].
        cpus: Cores that a task takes; the model of each runs on as many threads, at least one.
        gpus: GPUs that a task takes; above 0, the model runs there.
        retries: How often a task is run again whose worker or node died.
        progress: Called with the number of shards that are whole, and of all, after each.
        program: The program `adam` on every node. Default: that of the environment, else the one on PATH.

    Returns:
        The folder of the index.
    """
    if shards < 1:
        raise InputError(f"shards={shards}: an index has 1 shard or more")
    several = [data] if isinstance(data, str | os.PathLike) else list(data)
    # Workers have other working directories.
    words = ["--data", *(_absolute(path) for path in several), "--index", os.path.abspath(index), "--by", by]
    words += ["--model", _absolute(model)]
    if language is not None:
        words += ["--language", language]
    if gpus > 0:
        words += ["--provider", "cuda"]
    words += [*options]
    given = None if program is None else os.fspath(program)
    unit = ray().remote(_unit).options(num_cpus=cpus, num_gpus=gpus, max_retries=retries)
    threads = max(1, int(cpus))
    tasks = {unit.remote([*words, "--part", f"{number}/{shards}"], threads, given): number for number in range(shards)}
    waiting = list(tasks)
    try:
        while waiting:
            done, waiting = ray().wait(waiting, num_returns=1)
            for task in done:
                ray().get(task)
            if progress is not None:
                progress(shards - len(waiting), shards)
    except BaseException as fault:
        # The others are stopped; what they committed is kept.
        for task in waiting:
            ray().cancel(task, force=True)
        cause = getattr(fault, "cause", None)
        if isinstance(cause, AdamError):
            raise cause from fault
        raise
    return Path(index)


def _absolute(path: _Path) -> str:
    """An existing path, or one with a pattern, as seen from everywhere; other text, such as an id of a model, as it is."""
    text = os.fspath(path)
    return os.path.abspath(text) if os.path.exists(text) or any(sign in text for sign in "*?[") else text


def _unit(words: list[str], threads: int, program: str | None) -> None:
    """One shard, in a worker."""
    environment = dict(os.environ)
    library = onnxruntime()
    if library is not None and "ORT_DYLIB_PATH" not in environment:
        environment["ORT_DYLIB_PATH"] = str(library)
    # Of the libraries of arithmetic, too: Ray's workers may share a machine.
    environment["OMP_NUM_THREADS"] = environment["RAYON_NUM_THREADS"] = str(threads)
    until = time.monotonic() + _PATIENCE
    while True:
        child = subprocess.Popen(
            [str(find("adam", program)), "shard", *words, "--threads", str(threads)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            preexec_fn=_end_with_parent,
        )
        assert child.stderr is not None
        lines = deque((line.rstrip("\n") for line in child.stderr), maxlen=20)
        code = child.wait()
        if code == 0:
            return
        message = next((line for line in reversed(lines) if line.startswith("error: ")), " ".join(lines))
        message = message.removeprefix("error: ")
        part = words[words.index("--part") + 1]
        # One whose worker was killed a moment ago may still be there.
        is_held = "is being written to" in message
        if not is_held or time.monotonic() > until:
            break
        time.sleep(0.5)
    kind = InputError if code == 2 else LockedError if is_held else StorageError
    raise kind(f"shard {part}: {message or f'adam ended with exit code {code}'}")


def _end_with_parent() -> None:
    """The program ends when its worker is killed, so that the task that takes its place finds the shard free (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

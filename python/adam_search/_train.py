"""Training and export: the program adam-train as a child, with libtorch from the package `torch`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ._errors import AdamError, InputError
from ._program import find

_Path: TypeAlias = str | os.PathLike[str]

# The release whose libtorch the program is made for; its interface differs from release to release.
_TORCH = "2.11"

_PROGRESS = re.compile(r"^\s*(\S.*?) (\d+)/(\d+)  (.*)  left (\S+)$")


class TrainProgress(NamedTuple):
    """How far a stage of a training run is."""

    stage: str
    done: int
    total: int
    message: str
    """What stands beside it, such as the loss."""
    left: str
    """Time left, as minutes:seconds."""


class Training(NamedTuple):
    """What a training run has made."""

    student: Path
    """The folder of the student: a model for `Encoder` and `Index.create`."""
    folder: Path
    """The folder of the run, with what every stage made."""
    verdict: str
    """The run's last line: whether the student is better than the model it came from."""


def train(
    data: _Path,
    work: _Path,
    *,
    config: _Path | None = None,
    model: _Path | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    memory_limit: str | None = None,
    settings: Mapping[str, object] | None = None,
    progress: Callable[[TrainProgress], object] | None = None,
    log: Callable[[str], object] | None = None,
    program: _Path | None = None,
    libtorch: _Path | None = None,
) -> Training:
    """Trains a student: mines candidates, trains or opens a teacher, distils, exports, evaluates.

    Args:
        data: Training data: a BEIR folder or .zip, or a file of another format that adam-train reads.
        work: Folder of the run. The same call goes on where an interrupted one stopped.
        config: A configuration in TOML, as `adam-train config` prints it. Default: every setting's default.
        model: Model to start from: a folder with config.json, model.safetensors and tokenizer.json, or a Hugging Face id.
        device: "auto", "cpu" or "cuda".
        memory_limit: Most memory a training step may take, such as "8GB".
        settings: Single settings over the configuration's, such as {"distil.epochs": 2}.
        progress: Called with a TrainProgress every few seconds and at the end of each part.
        log: Called with every other line. Default: they are printed to standard error.
        program: The program adam-train. Default: that of this environment, else the one on PATH.
        libtorch: Folder of libtorch's libraries. Default: that of the package torch 2.11 if it is installed, else the program's own.

    Ctrl-C ends the run; what was done is kept.
    """
    words = ["run", *([os.fspath(config)] if config is not None else []), "--data", os.fspath(data), "--work", os.fspath(work)]
    for name, value in [("--model", model), ("--device", device), ("--memory-limit", memory_limit)]:
        if value is not None:
            words += [name, os.fspath(value)]
    for key, setting in (settings or {}).items():
        text = str(setting).lower() if isinstance(setting, bool) else str(setting)
        words += ["--set", f"{key}={text}"]
    lines = _run(words, progress, log, program, libtorch)
    verdict = next((line for line in reversed(lines) if line.startswith("VERDICT: ")), "")
    return Training(Path(work) / "student", Path(work), verdict.removeprefix("VERDICT: "))


def export(
    model: _Path,
    output: _Path,
    *,
    kind: Literal["sentence", "pair"] = "sentence",
    max_length: int | None = None,
    pooling: Literal["mean", "cls"] | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    if_missing: bool = False,
    log: Callable[[str], object] | None = None,
    program: _Path | None = None,
    libtorch: _Path | None = None,
) -> Path:
    """Writes a model folder with safetensors as ONNX, in a folder that `Encoder` or `PairScorer` opens.

    Args:
        model: Folder with config.json, model.safetensors and tokenizer.json, or a Hugging Face id.
        output: Folder to write; replaced if an export wrote it.
        kind: "sentence" for a sentence encoder, "pair" for a cross-encoder.
        max_length: Longest text in tokens. Default: as the model's folder says.
        pooling: How token vectors become one. Default: as the model's folder says.
        query_prompt: Text to put before every query. Default: as the model's folder says.
        document_prompt: Text to put before every document. Default: as the model's folder says.
        if_missing: Do nothing if an export is there already.
        log, program, libtorch: As of `train`.

    Returns:
        The folder.
    """
    words = ["export", "--model", os.fspath(model), "--output", os.fspath(output), "--kind", kind]
    options = {"max-length": max_length, "pooling": pooling, "query-prompt": query_prompt, "document-prompt": document_prompt}
    for option, given in options.items():
        if given is not None:
            words += [f"--{option}", str(given)]
    if if_missing:
        words.append("--if-missing")
    _run(words, None, log, program, libtorch)
    return Path(output)


def _run(
    words: list[str],
    progress: Callable[[TrainProgress], object] | None,
    log: Callable[[str], object] | None,
    program: _Path | None,
    libtorch: _Path | None,
) -> list[str]:
    """Runs the program to its end and returns its lines without those of progress."""
    environment = dict(os.environ)
    if (folder := _libtorch(libtorch)) is not None:
        # Of the child only.
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(folder), environment.get("LD_LIBRARY_PATH")]))
    lines: list[str] = []
    child = subprocess.Popen(
        [str(find("adam-train", program)), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        encoding="utf-8",
        errors="replace",
        # So that Ctrl-C reaches the child once, from here, and not from the terminal as well.
        start_new_session=True,
    )
    assert child.stdout is not None
    try:
        with child.stdout:
            for line in child.stdout:
                line = line.rstrip("\n")
                if (found := _PROGRESS.match(line)) is not None:
                    if progress is not None:
                        stage, done, total, message, left = found.groups()
                        progress(TrainProgress(stage, int(done), int(total), message.strip(), left))
                    continue
                lines.append(line)
                if log is not None:
                    log(line)
                else:
                    print(line, file=sys.stderr)
        code = child.wait()
    except BaseException:
        # Ctrl-C, or what a callback raised: the program keeps what it has, and ends.
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    if code == 0:
        return lines
    message = next((line for line in reversed(lines) if line.startswith("error: ")), "").removeprefix("error: ")
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt(message)
    if not message and any("libtorch" in line for line in lines):
        message = (
            f"adam-train finds no libtorch {_TORCH}; install it by `pip install 'torch=={_TORCH}.*'`, or name its folder by libtorch="
        )
    raise (InputError if code == 2 else AdamError)(message or f"adam-train ended with exit code {code}: {' '.join(lines[-3:])}")


def _libtorch(given: _Path | None) -> Path | None:
    """The folder of libtorch's libraries, without an import of torch."""
    if given is not None:
        return Path(given)
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    # Another release would be loaded and fail; the program may have its own.
    return Path(spec.submodule_search_locations[0]) / "lib" if version.startswith(f"{_TORCH}.") else None


for _thing in (Training, TrainProgress, train, export):
    _thing.__module__ = "adam_search"
del _thing

"""The programs `adam` and `adam-train`, and the libraries that they load."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ._errors import InputError


def find(name: str, given: str | os.PathLike[str] | None) -> Path:
    """The program: the one named, else that of this environment, else the one on PATH."""
    if given is not None:
        return Path(given)
    own = Path(sys.prefix) / "bin" / name
    if own.is_file():
        return own
    if (found := shutil.which(name)) is not None:
        return Path(found)
    raise InputError(
        f"the program {name} is neither in this environment nor on PATH; build it by `make build`, or name it by program="
    )


def onnxruntime() -> Path | None:
    """The library of the package onnxruntime, without an import of it."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    libraries = sorted(Path(spec.submodule_search_locations[0], "capi").glob("libonnxruntime.so*"))
    return libraries[0] if libraries else None

"""Ray, when it is needed."""

from __future__ import annotations

from types import ModuleType

from .._errors import InputError


def ray() -> ModuleType:
    """The package, or an error that says how to get it."""
    try:
        import ray as package
    except ImportError as fault:
        raise InputError("adam_search.scale needs Ray; install it by `pip install 'ray[serve]'`") from fault
    return package

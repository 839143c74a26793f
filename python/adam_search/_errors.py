"""What this package raises. The sentences are those of the programs and libraries."""


class AdamError(Exception):
    """What went wrong: what, where, and what to do about it."""


class InputError(AdamError, ValueError):
    """What was passed is wrong: a row, a query, a filter, an option, a name."""


class StorageError(AdamError, OSError):
    """A file or an index cannot be read or written."""


class LockedError(StorageError):
    """Another program or object is writing to the index."""


class ModelError(AdamError, RuntimeError):
    """A model cannot be opened, is not the one of the index, or failed."""


# As users see and import them.
for _class in (AdamError, InputError, StorageError, LockedError, ModelError):
    _class.__module__ = "adam_search"
del _class

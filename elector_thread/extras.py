"""What a module needs beyond the library's own dependencies, told where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needed"]


@contextmanager
def needed(by: str, what: str, extra: str) -> Iterator[None]:
    """Around the imports of an optional package: a missing one is told with its extra.

    by: the module that needs it.
    what: the package, as people call it.
    extra: which extra of elector-thread brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{by} needs {what}: pip install 'elector-thread[{extra}]' ({error})", name=error.name
        ) from None

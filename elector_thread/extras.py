"""Optional packages: an error that names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needed"]


@contextmanager
def needed(by: str, what: str, extra: str) -> Iterator[None]:
    """Use around the imports of an optional package: if it is missing, the error names the extra.

    by: the module that needs it.
    what: the package's name.
    extra: the extra of elector-thread that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{by} needs {what}: pip install 'elector-thread[{extra}]' ({error})", name=error.name
        ) from None

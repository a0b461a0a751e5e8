"""Optional packages: the error message that names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needed"]


@contextmanager
def needed(by: str, what: str, extra: str) -> Iterator[None]:
    """Around the imports of an optional package: say which extra installs it if it is missing.

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

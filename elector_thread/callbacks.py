"""What may be registered as a callback, and what it is called in logs. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["adapt", "name_of"]


def adapt(callback: Callable[..., object], what: str) -> Callable[[Any], object]:
    """``callback`` as a function of exactly one argument, which it need not take.

    Raises TypeError for what cannot be called with one argument or with none, and
    for ``async def``: there is no event loop on the thread that calls it.
    """
    if not callable(callback):
        raise TypeError(f"{what}: expected a function, got {callback!r}")
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004 - looks at it, does not test it
    ):
        raise TypeError(
            f"{what}: {name_of(callback)} is async, but is called from a thread without an "
            f"event loop; use an adapter of elector_thread.integrations"
        )
    try:
        signature = inspect.signature(callback)
    except (ValueError, TypeError):  # some builtins have none
        return callback
    for count in (1, 0):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return callback if count else lambda _: callback()
    raise TypeError(
        f"{what}: {name_of(callback)}{signature} must be callable with one argument or with none"
    )


def name_of(callback: Callable[..., object]) -> str:
    """A callback's name for logs."""
    name: str = getattr(callback, "__qualname__", None) or type(callback).__qualname__
    return name

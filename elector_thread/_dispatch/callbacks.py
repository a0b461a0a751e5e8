"""What may be registered as a callback, and what it is called in logs. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ElectorError

__all__ = ["LoopClosedError", "adapt", "adapt_async", "is_async", "is_generator", "name_of"]


class LoopClosedError(ElectorError):
    """An ``async def`` was not run, or not to its end: its event loop is closed."""


def adapt(callback: Callable[..., object], what: str) -> Callable[[Any], object]:
    """Wrap ``callback`` so that it accepts exactly one argument.

    A parameter with a default receives it only if its name says so (``leadership``,
    ``change``): the first parameter of ``scheduler.start(paused=False)`` means something else.

    what: the method that registers it, for messages. Raises TypeError if ``callback`` can be
    called neither with one argument nor with none, and for ``async def``: the thread that
    calls it runs no event loop.
    """
    if not callable(callback):
        raise TypeError(f"{what}: expected a function, got {callback!r}")
    if is_async(callback):
        raise TypeError(
            f"{what}: {name_of(callback)} is async, but is called from a thread without an "
            f"event loop; use elector_thread.aio.AsyncElector"
        )
    return adapt_async(callback, what)


def adapt_async(callback: Callable[..., Any], what: str) -> Callable[[Any], Any]:
    """The same for a caller that awaits what ``callback`` returns; ``async def`` is allowed."""
    if is_generator(callback):
        raise TypeError(
            f"{what}: {name_of(callback)} is a generator function: a call would not run its body"
        )
    try:
        signature = inspect.signature(callback)
    except (ValueError, TypeError):  # some builtins have none
        return callback
    takes_one, takes_none = (_binds(signature, count) for count in (1, 0))
    if takes_one and (not takes_none or _wants_it(signature)):
        return callback
    if takes_none:
        return lambda _: callback()
    raise TypeError(
        f"{what}: {name_of(callback)}{signature} must be callable with one argument or with none"
    )


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _wants_it(signature: inspect.Signature) -> bool:
    """Whether a callback that needs no argument is meant to receive ours."""
    first = next(iter(signature.parameters.values()))
    return first.kind is first.VAR_POSITIONAL or first.name in ("leadership", "change")


def is_async(callback: Callable[..., object]) -> bool:
    """Whether a call returns something to await: ``async def``, also as ``__call__``."""
    return any(map(inspect.iscoroutinefunction, _bodies(callback)))


def is_generator(callback: Callable[..., object]) -> bool:
    """Whether a call returns a generator and runs nothing yet, also as ``__call__``."""
    bodies = _bodies(callback)
    return any(inspect.isgeneratorfunction(b) or inspect.isasyncgenfunction(b) for b in bodies)


def _bodies(callback: Callable[..., object]) -> tuple[object, object]:
    """Where the code of a call may be: in the function, or in its class's ``__call__``."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    return callback, getattr(callback, "__call__", None)  # noqa: B004 - reads it, does not test for it


def name_of(callback: Callable[..., object]) -> str:
    """A callback's name for logs."""
    name: str = getattr(callback, "__qualname__", None) or type(callback).__qualname__
    return name

"""What may be registered as a callback, and what it is called in logs. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["adapt", "name_of"]


def adapt(callback: Callable[..., object], what: str) -> Callable[[Any], object]:
    """``callback`` as a function of exactly one argument, which it need not take.

    A parameter with a default gets it only if its name says so (``leadership``, ``change``):
    ``scheduler.start(paused=False)`` means something else by its first one.

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
    if _is_generator(callback):
        raise TypeError(
            f"{what}: {name_of(callback)} is a generator function: calling it runs nothing of it"
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
    """Of what can be called with an argument and without: whether the argument is meant for it."""
    first = next(iter(signature.parameters.values()))
    return first.kind is first.VAR_POSITIONAL or first.name in ("leadership", "change")


def _is_generator(callback: Callable[..., object]) -> bool:
    called = getattr(callback, "__call__", None)  # noqa: B004 - looks at it, does not test it
    return any(
        inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one)
        for one in (callback, called)
    )


def name_of(callback: Callable[..., object]) -> str:
    """A callback's name for logs."""
    name: str = getattr(callback, "__qualname__", None) or type(callback).__qualname__
    return name

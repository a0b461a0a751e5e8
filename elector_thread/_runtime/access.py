"""What adapters, the guard and `configure` do with an elector, beyond its public methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from .._state.leadership import Waker
from .._state.occurrences import GuardedCall
from ..settings import Settings
from . import forks
from .process import Host

__all__ = [
    "call_within",
    "is_used",
    "listen",
    "only_answer",
    "reconfigure",
    "record",
    "until_stopped",
]


def only_answer(elector: Host) -> None:
    """Answer questions, but call nothing until `Elector.start` is called."""
    elector._runtime.registry.disable()


def call_within(elector: Host, context: Callable[[], AbstractContextManager[object]]) -> None:
    """Enter ``context()`` around every callback and leader task."""
    elector._runtime.registry.surround(context)


def listen(
    elector: Host, kind: str, callback: Callable[..., object], is_work: Callable[[], bool]
) -> None:
    """Register a callback that is leader-only work only while ``is_work()``."""
    elector._runtime.registry.add(kind, callback, is_work)
    elector._runtime.store.wake()


@contextmanager
def until_stopped(elector: Host, flag: Waker) -> Iterator[Callable[[], bool]]:
    """Set ``flag`` at the next stop; yields whether that has come."""
    forks.notice()
    store = elector._runtime.store
    with store.waking(flag):
        yield lambda: store.closed


def is_used(elector: Host) -> bool:
    """Whether this elector was ever started or stopped."""
    return elector._runtime.used


def reconfigure(elector: Host, source: Callable[[], Settings], *, at_once: bool) -> None:
    """Use other settings. Raises `ElectorError` if the elector is in use already."""
    elector._runtime.configure(source, at_once=at_once)


def record(elector: Host, event: GuardedCall) -> None:
    """Log a guarded call if need be, and pass it to observers."""
    elector._runtime.health.record(event)

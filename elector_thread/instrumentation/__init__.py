"""Observers: functions that are called with every event of every elector in this process.

For metrics and traces; `elector_thread.instrumentation.prometheus` and
`elector_thread.instrumentation.opentelemetry` are built on it. The events are the named tuples
of this module.

An observer runs on the thread where the event happened (a thread of the library, the one that
calls a guarded function, or the one that calls `Elector.stop`), and with no lock of the library
held. So it may be called from several threads at once, and events of different threads may
arrive in another order than they happened. It must return at once, since it delays what it
observes, and must not wait for anything. It may read an elector, but should not start or stop
one. An `Exception` is logged once for each observer, and suppressed. A forked child inherits its
parent's observers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from .._state.health import observers
from .._state.occurrences import (
    CallbackDone,
    CallbackFailed,
    CallbackOverran,
    ContactLost,
    Event,
    EventRead,
    EventUnreadable,
    FenceMissing,
    GetAnswered,
    GetFailed,
    GuardedCall,
    LeaderConfirmed,
    LeadershipAnnounced,
    LeadershipGained,
    LeadershipLost,
    LeaseAnswered,
    LeaseFailed,
    StreamEnded,
    StreamOpened,
    TaskEnded,
    TaskFailed,
    TaskStarted,
    UnexpectedError,
)

__all__ = [
    "CallbackDone",
    "CallbackFailed",
    "CallbackOverran",
    "ContactLost",
    "Event",
    "EventRead",
    "EventUnreadable",
    "FenceMissing",
    "GetAnswered",
    "GetFailed",
    "GuardedCall",
    "LeaderConfirmed",
    "LeadershipAnnounced",
    "LeadershipGained",
    "LeadershipLost",
    "LeaseAnswered",
    "LeaseFailed",
    "Observer",
    "StreamEnded",
    "StreamOpened",
    "TaskEnded",
    "TaskFailed",
    "TaskStarted",
    "UnexpectedError",
    "add_observer",
    "remove_observer",
]


class Observer(Protocol):
    """What `add_observer` takes: a function of one event, or an object with ``__call__``."""

    def __call__(self, event: Event, /) -> object:
        """Something has happened."""


def add_observer(observer: Observer) -> None:
    """Call ``observer`` with every event from now on. Adding it twice calls it twice."""
    observers.append(observer)


def remove_observer(observer: Observer) -> None:
    """Undo `add_observer`; without effect for one that was not added."""
    with suppress(ValueError):
        observers.remove(observer)

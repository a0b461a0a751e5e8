"""What has happened: counts, the newest problem, and the slow callback.

Nothing here decides who leads. Every event is passed on to the log and to observers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import RLock
from time import time
from typing import TypeAlias

from .clock import is_held_here, now
from .model import Counts, PastLeadership
from .occurrences import (
    CallbackFailed,
    CallbackOverran,
    Event,
    EventRead,
    EventUnreadable,
    GetAnswered,
    GetFailed,
    LeadershipLost,
    LeaseAnswered,
    LeaseFailed,
    ObserverFailed,
    StreamEnded,
    StreamOpened,
    TaskFailed,
    UnexpectedError,
)

__all__ = ["Health", "Observer", "observers"]


Observer: TypeAlias = Callable[[Event], object]

observers: list[Observer] = []
"""Called with every event of every elector in this process, on the thread where it happened and
with no lock held; see `elector_thread.instrumentation`. Each change is one atomic step, and
`Health.record` takes a copy."""

LONGEST_HISTORY = 9
"""Leaderships to remember, besides the current one."""

_COUNTED: dict[type[Event], str] = {
    GetAnswered: "answers",
    GetFailed: "failures",
    StreamOpened: "streams",
    EventRead: "events",
    EventUnreadable: "unreadable",
    CallbackFailed: "callback_errors",
    TaskFailed: "callback_errors",
    CallbackOverran: "overruns",
}


class Health:
    """Counts what happens to one elector, for its status, and tells its observers.

    `_lock` protects `counts`, `history` and `last_error` against other writers, and makes one
    overrun one event; it is not held while observers run. Readers take no lock: each attribute
    is a whole value. `running` is written by the dispatch thread, `poll_due` by the poll
    thread.
    """

    def __init__(self, log: Observer) -> None:
        self._lock = RLock()
        self._log = log
        self.counts = Counts()
        self.history: tuple[PastLeadership, ...] = ()  # those that are over
        self.last_error: str | None = None
        self.lease_problem: str | None = None  # of the newest reading; written by the poll thread
        self.running: tuple[str, float] | None = None  # the callback under way, and since when
        self._overrun: tuple[str, float] | None = None
        self.shares_work = False  # written by the dispatch thread
        self.poll_due = inf  # when the poll thread will have asked again

    def record(self, event: Event) -> None:
        """Count ``event`` and pass it on."""
        field, problem = _COUNTED.get(type(event)), _problem(event)
        with self._lock:
            if field is not None:
                self.counts = self.counts._replace(**{field: getattr(self.counts, field) + 1})
            if problem is not None:
                self.last_error = problem
            if isinstance(event, LeadershipLost):
                self._keep(event)
            elif isinstance(event, LeaseAnswered):
                self.lease_problem = event.problem
            elif isinstance(event, LeaseFailed):
                self.lease_problem = event.reason
        self._log(event)
        for observer in tuple(observers):
            try:
                observer(event)
            except Exception as error:
                self._log(ObserverFailed(_name_of(observer), error))

    def _keep(self, event: LeadershipLost) -> None:
        began = time() - event.seconds
        past = PastLeadership(event.number, began, event.seconds, event.reason)
        self.history = (*self.history, past)[-LONGEST_HISTORY:]

    def check_overrun(self, longest: float) -> None:
        """Record, once, a callback that has been running for more than ``longest`` seconds."""
        running = self.running
        if running is None or now() - running[1] < longest:
            return
        with self._lock:
            known, self._overrun = self._overrun is running, running
        if not known:
            self.record(CallbackOverran(running[0], now() - running[1]))

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted `record`."""
        return is_held_here(self._lock)


def _name_of(observer: Observer) -> str:
    """For the log. Its ``repr`` is user code, and differs from one object to the next."""
    name: str = getattr(observer, "__qualname__", type(observer).__qualname__)
    return name


def _problem(event: Event) -> str | None:
    """The line that a status shows as the newest problem."""
    if isinstance(event, GetFailed | StreamEnded | EventUnreadable | LeaseFailed):
        return event.reason
    if isinstance(event, TaskFailed):
        return f"while_leader function {event.name} raised {type(event.error).__name__}"
    if isinstance(event, CallbackFailed):
        return f"{event.name} raised {type(event.error).__name__}"
    if isinstance(event, UnexpectedError):
        return f"unexpected {type(event.error).__name__} in {event.thread}"
    return None

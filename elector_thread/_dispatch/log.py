"""The log: one line when an outage begins and one when it ends, never one for each attempt.

Observes the events of one elector and decides what is logged; `messages` says how.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import RLock
from typing import Any

from .._state.clock import is_held_here, now
from .._state.model import Snapshot, State
from .._state.occurrences import (
    CallbackFailed,
    CallbackOverran,
    Event,
    EventRead,
    EventUnreadable,
    FenceMissing,
    GetAnswered,
    GetFailed,
    GuardedCall,
    LeadershipAnnounced,
    LeaseAnswered,
    LeaseFailed,
    ObserverFailed,
    StreamEnded,
    TaskFailed,
    UnexpectedError,
    WorkShared,
)
from .._state.rules import leader_at, state_at
from .callbacks import LoopClosedError
from .messages import MESSAGES

__all__ = ["Log", "without_log"]

log = logging.getLogger("elector_thread")

SPELL = 300.0
"""Seconds between two lines about the same repeated problem: an unreadable event (counted from
the newest one), or a guarded function that was skipped because the leader is not known."""


@contextmanager
def without_log() -> Iterator[None]:
    """Keep the library's log quiet, for a command that reports problems itself."""

    def drop(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(drop)
    try:
        yield
    finally:
        log.removeFilter(drop)


class _Outage:
    """Whether something has been failing, and since when. Protected by its log's lock."""

    def __init__(self) -> None:
        self._since: float | None = None
        self.failures = 0  # in this outage
        self.logged = False  # whether a line about this outage was written

    def fail(self) -> None:
        """Note a failure."""
        self.failures += 1
        if self._since is None:
            self._since = now()

    def end(self) -> float | None:
        """Note a success; the outage's length in seconds if its beginning was logged."""
        began, logged = self._since, self.logged
        self._since, self.failures, self.logged = None, 0, False
        return now() - began if logged and began is not None else None


class Log:
    """Writes the log lines of one elector. `observe` is called from every thread.

    `_lock` protects the outages and what was logged before; it is not held while logging,
    because log handlers are user code.

    look: returns what is known now, for the fields of each line.
    """

    def __init__(self, look: Callable[[], tuple[Snapshot, float]]) -> None:
        self.where = (
            "an address not read yet"  # the sidecar's address, as soon as the settings are known
        )
        self._look = look
        self._lock = RLock()
        self._get = _Outage()
        self._stream = _Outage()
        self._lease = _Outage()
        self._lease_refused = False  # whether the present outage was logged as a permanent one
        self._contradiction: str | None = None  # the one that was logged last
        self._fence_missing = False
        self._unreadable_at = -inf
        self._unexpected: set[str] = set()
        self._skipped: dict[str, float] = {}  # when a skipped call of a function was logged
        self._writers: dict[type[Event], Callable[[Any], None]] = {
            GetAnswered: self._get_answered,
            GetFailed: self._get_failed,
            StreamEnded: self._stream_ended,
            EventRead: self._event_read,
            EventUnreadable: self._event_unreadable,
            LeaseAnswered: self._lease_answered,
            LeaseFailed: self._lease_failed,
            FenceMissing: self._no_fence,
            LeadershipAnnounced: self._leadership_announced,
            CallbackFailed: self._callback_failed,
            TaskFailed: self._task_failed,
            CallbackOverran: self._callback_overran,
            GuardedCall: self._guarded_call,
            WorkShared: self._work_shared,
            ObserverFailed: self._observer_failed,
            UnexpectedError: self._unexpected_error,
        }

    def observe(self, event: Event) -> None:
        """Log what is worth a line."""
        if writer := self._writers.get(type(event)):
            writer(event)

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted the writing of a log line."""
        return is_held_here(self._lock) or any(map(_is_held_here, _handlers()))

    def held_back(self, when: str) -> None:
        """The elector was started in a process that only forks workers. when: it starts there."""
        self._write("held_back", when)

    def start_failed(self, error: Exception) -> None:
        """A forked child could not start. Logged once for each kind of error."""
        if self._is_new(f"start: {type(error).__name__}"):
            self._write("start_failed", error, reason=str(error))

    def _write(
        self, event: str, *args: object, error: BaseException | None = None, **fields: object
    ) -> None:
        """Log a message of `MESSAGES`, with what is known and ``fields`` as `extra` fields."""
        level, text, *_ = MESSAGES[event]
        said = {f"elector_{field}": value for field, value in fields.items()}
        extra = {"elector_event": event, **self._known(), **said}
        with suppress(Exception):  # a log handler that raises must not end a thread of ours
            log.log(level, text, *args, exc_info=error, stacklevel=3, extra=extra)

    def _known(self) -> dict[str, object]:
        snapshot, instant = self._look()
        leads = state_at(snapshot, instant) is State.LEADER
        return {
            "elector_identity": snapshot.identity,
            "elector_leader": leader_at(snapshot, instant),
            "elector_leadership": snapshot.number if leads else None,
        }

    def _get_answered(self, _: GetAnswered) -> None:
        with self._lock:
            lasted = self._get.end()
        if lasted is not None:
            self._write("get_answered", self.where, lasted, seconds=lasted)

    def _get_failed(self, event: GetFailed) -> None:
        with self._lock:
            self._get.fail()
            first, self._get.logged = not self._get.logged, True
        if first:
            self._write("get_failed", self.where, event.reason, reason=event.reason)

    def _stream_ended(self, event: StreamEnded) -> None:
        """A stream that is back at the first attempt is not worth a line.

        One that fails together with GET is covered by GET's line.
        """
        with self._lock:
            self._stream.fail()
            worth_a_line = event.absent or self._stream.failures > 1
            first = worth_a_line and not self._stream.logged and not self._get.failures
            self._stream.logged |= first
        self._write("stream_failed", event.reason, reason=event.reason)
        if first:
            name = "stream_absent" if event.absent else "stream_gone"
            self._write(name, event.reason, reason=event.reason)

    def _event_read(self, _: EventRead) -> None:
        with self._lock:
            lasted = self._stream.end()
        if lasted is not None:
            self._write("stream_back", lasted, seconds=lasted)

    def _event_unreadable(self, event: EventUnreadable) -> None:
        """A readable event in between does not end the spell: the two may alternate."""
        instant = now()
        with self._lock:
            first = instant - self._unreadable_at >= SPELL
            self._unreadable_at = instant
        if first:
            self._write("event_unreadable", event.reason, reason=event.reason)

    def _lease_answered(self, event: LeaseAnswered) -> None:
        with self._lock:
            lasted = self._lease.end()
            self._lease_refused = False
            first, self._contradiction = event.problem != self._contradiction, event.problem
        if lasted is not None:
            self._write("lease_answered", lasted, seconds=lasted)
        if first and event.problem is not None:
            self._write("lease_contradicts", event.problem, reason=event.problem)

    def _lease_failed(self, event: LeaseFailed) -> None:
        """An outage that becomes permanent is logged once more."""
        with self._lock:
            self._lease.fail()
            first, self._lease.logged = not self._lease.logged, True
            newly_refused = event.permanent and not self._lease_refused
            self._lease_refused |= event.permanent
        if newly_refused:
            self._write("lease_refused", event.reason, reason=event.reason)
        elif first:
            self._write("lease_failed", event.reason, reason=event.reason)

    def _no_fence(self, _: FenceMissing) -> None:
        with self._lock:
            first, self._fence_missing = not self._fence_missing, True
        if first:
            self._write("no_fence")

    def _leadership_announced(self, event: LeadershipAnnounced) -> None:
        identity, number, ended, reason = event
        if ended:
            said = (identity, number, reason)
            self._write("no_longer_leader", *said, leadership=number, reason=reason)
        else:
            self._write("leader", identity, number, leadership=number)

    def _callback_failed(self, event: CallbackFailed) -> None:
        self._raised(event.name, event.name, event.error)

    def _task_failed(self, event: TaskFailed) -> None:
        self._raised(f"while_leader function {event.name}", event.name, event.error)

    def _raised(self, what: str, name: str, error: BaseException) -> None:
        reason = type(error).__name__
        if isinstance(error, LoopClosedError):
            self._write("loop_closed", what, function=name, reason=reason)
        else:
            self._write("callback_failed", what, error=error, function=name, reason=reason)

    def _callback_overran(self, event: CallbackOverran) -> None:
        name, seconds = event
        self._write("callback_overran", name, seconds, function=name, seconds=seconds)

    def _guarded_call(self, event: GuardedCall) -> None:
        """A function that is skipped again and again is logged once in `SPELL`."""
        if event.outcome != "unknown":
            return
        name, instant = event.function, now()
        with self._lock:
            due = instant - self._skipped.get(name, -inf) >= SPELL
            if due:
                self._skipped[name] = instant
        if due:
            self._write("guarded_call_unknown", name, self.where, function=name)

    def _work_shared(self, _: WorkShared) -> None:
        self._write("work_shared")

    def _observer_failed(self, event: ObserverFailed) -> None:
        kind = type(event.error).__name__
        if self._is_new(f"{event.observer}: {kind}"):
            self._write("observer_failed", event.observer, kind, error=event.error, reason=kind)

    def _unexpected_error(self, event: UnexpectedError) -> None:
        kind = type(event.error).__name__
        if self._is_new(f"{event.thread}: {kind}"):
            self._write("unexpected_error", kind, event.thread, error=event.error, reason=kind)

    def _is_new(self, kind: str) -> bool:
        with self._lock:
            is_new = kind not in self._unexpected
            self._unexpected.add(kind)
        return is_new


def _handlers() -> Iterator[logging.Handler]:
    """Every handler that a line of ours may reach."""
    if logging.lastResort is not None:
        yield logging.lastResort
    logger: logging.Logger | None = log
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _is_held_here(handler: logging.Handler) -> bool:
    lock = handler.lock
    return isinstance(lock, type(RLock())) and is_held_here(lock)

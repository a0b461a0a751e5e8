"""The log: one line when an outage begins and one when it ends, never one for each attempt.

Observes the events of one elector and decides what is logged and at which level. Text from
outside was escaped, and credentials were left out, before an event was made.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import RLock
from typing import Any

from .._state.clock import is_held_here, now
from .._state.health import (
    CallbackFailed,
    CallbackOverran,
    Event,
    EventRead,
    EventUnreadable,
    FenceMissing,
    GetAnswered,
    GetFailed,
    LeadershipAnnounced,
    LeaseAnswered,
    LeaseFailed,
    StreamEnded,
    UnexpectedError,
)

__all__ = ["Log", "without_log"]

log = logging.getLogger("elector_thread")

READABLE_SPELL = 300.0
"""Seconds without an unreadable event after which the next one is logged again."""


def _write(
    event: Event | str,
    level: int,
    message: str,
    *args: object,
    exc_info: BaseException | None = None,
) -> None:
    """Log a line whose `extra` fields hold the event: its name, and what it says."""
    with suppress(Exception):  # a log handler that raises must not end a thread of ours
        log.log(level, message, *args, exc_info=exc_info, stacklevel=3, extra=_extra(event))


def _extra(event: Event | str) -> dict[str, object]:
    if isinstance(event, str):
        return {"elector_event": event}
    fields = {f"elector_{name}": value for name, value in event._asdict().items()}
    plain = {k: v for k, v in fields.items() if isinstance(v, str | int | float | bool)}
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    return {"elector_event": name, **plain}


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
    """

    def __init__(self) -> None:
        self.where = ""  # the sidecar's address, as soon as the settings are known
        self._lock = RLock()
        self._get = _Outage()
        self._stream = _Outage()
        self._lease = _Outage()
        self._contradiction: str | None = None  # the one that was logged last
        self._fence_missing = False
        self._unreadable_at = -inf
        self._unexpected: set[str] = set()
        self._writers: dict[type[Event], Callable[[Any], None]] = {
            GetAnswered: self._get_answered,
            GetFailed: self._get_failed,
            StreamEnded: self._stream_ended,
            EventRead: self._event_read,
            EventUnreadable: self._event_unreadable,
            LeaseAnswered: self._lease_answered,
            LeaseFailed: self._lease_failed,
            FenceMissing: self._no_fence,
            LeadershipAnnounced: _leadership_announced,
            CallbackFailed: _callback_failed,
            CallbackOverran: _callback_overran,
            UnexpectedError: self._unexpected_error,
        }

    def observe(self, event: Event) -> None:
        """Log what is worth a line."""
        if writer := self._writers.get(type(event)):
            writer(event)

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted the writing of a log line."""
        return is_held_here(self._lock) or any(map(_is_held_here, _handlers()))

    def held_back(self) -> None:
        """The elector was started in a process that only forks workers."""
        _write(
            "held_back",
            logging.INFO,
            "this process only forks workers; the elector starts in each worker",
        )

    def start_failed(self, error: Exception) -> None:
        """A forked child could not start. Logged once for each kind of error."""
        if self._is_new(f"start: {type(error).__name__}"):
            _write(
                "start_failed",
                logging.ERROR,
                "cannot start after a fork, so this process cannot lead: %s",
                error,
            )

    def _get_answered(self, event: GetAnswered) -> None:
        with self._lock:
            lasted = self._get.end()
        if lasted is not None:
            _write(
                event,
                logging.INFO,
                "the elector at %s answers again, after %.1f s",
                self.where,
                lasted,
            )

    def _get_failed(self, event: GetFailed) -> None:
        with self._lock:
            self._get.fail()
            first, self._get.logged = not self._get.logged, True
        if first:
            _write(
                event,
                logging.WARNING,
                "no usable answer from the elector at %s: %s; "
                "retrying; leadership expires after the grace period",
                self.where,
                event.reason,
            )

    def _stream_ended(self, event: StreamEnded) -> None:
        """A stream that is back at the first attempt is not worth a line.

        One that fails together with GET is covered by GET's line.
        """
        with self._lock:
            self._stream.fail()
            worth_a_line = event.absent or self._stream.failures > 1
            first = worth_a_line and not self._stream.logged and not self._get.failures
            self._stream.logged |= first
        _write(event, logging.DEBUG, "event stream: %s", event.reason)
        if first and event.absent:
            _write(
                event,
                logging.INFO,
                "no event stream at this address: %s; polling only",
                event.reason,
            )
        elif first:
            _write(
                event, logging.INFO, "no event stream: %s; polling until it is back", event.reason
            )

    def _event_read(self, event: EventRead) -> None:
        with self._lock:
            lasted = self._stream.end()
        if lasted is not None:
            _write(event, logging.INFO, "the event stream is back, after %.1f s", lasted)

    def _event_unreadable(self, event: EventUnreadable) -> None:
        """One that can be read in between ends nothing: they may alternate."""
        instant = now()
        with self._lock:
            first = instant - self._unreadable_at >= READABLE_SPELL
            self._unreadable_at = instant
        if first:
            _write(
                event,
                logging.WARNING,
                "unreadable event from the elector: %s; ignored",
                event.reason,
            )

    def _lease_answered(self, event: LeaseAnswered) -> None:
        with self._lock:
            lasted = self._lease.end()
            first, self._contradiction = event.problem != self._contradiction, event.problem
        if lasted is not None:
            _write(event, logging.INFO, "the Lease can be read again, after %.1f s", lasted)
        if first and event.problem is not None:
            _write(
                event, logging.WARNING, "%s; not the leader until a Lease names it", event.problem
            )

    def _lease_failed(self, event: LeaseFailed) -> None:
        with self._lock:
            self._lease.fail()
            first, self._lease.logged = not self._lease.logged, True
        if first and event.permanent:
            _write(
                event, logging.ERROR, "cannot verify leadership, so cannot lead: %s", event.reason
            )
        elif first:
            _write(
                event,
                logging.WARNING,
                "cannot read the Lease: %s; retrying; leadership expires after the grace period",
                event.reason,
            )

    def _no_fence(self, event: FenceMissing) -> None:
        with self._lock:
            first, self._fence_missing = not self._fence_missing, True
        if first:
            _write(
                event,
                logging.WARNING,
                "the Lease's resourceVersion is not a decimal number; leadership.fence is None",
            )

    def _unexpected_error(self, event: UnexpectedError) -> None:
        kind = type(event.error).__name__
        if self._is_new(f"{event.thread}: {kind}"):
            _write(
                event,
                logging.CRITICAL,
                "unexpected %s in %s; continuing",
                kind,
                event.thread,
                exc_info=event.error,
            )

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


def _leadership_announced(event: LeadershipAnnounced) -> None:
    message = "%s is no longer the leader" if event.ended else "%s is the leader"
    _write(event, logging.INFO, f"{message} (leadership %d)", event.identity, event.number)


def _callback_failed(event: CallbackFailed) -> None:
    _write(event, logging.ERROR, "%s raised; continuing", event.name, exc_info=event.error)


def _callback_overran(event: CallbackOverran) -> None:
    _write(
        event,
        logging.WARNING,
        "%s has been running for %.1f s and delays other callbacks; "
        "use while_leader for long-running work",
        event.name,
        event.seconds,
    )

"""What happened, for people: counts, the last error, and one log line per outage.

The one place that decides what is logged and how loudly. An outage is logged
when it begins and when it ends, never at every try. Foreign text was escaped,
and credentials were left out, before anything reaches this module.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import Lock, current_thread

from .clock import now

__all__ = ["Journal", "Outage", "without_log"]

log = logging.getLogger("elector_thread")

READABLE_SPELL = 300.0
"""Seconds without an unreadable event after which the next one is news again."""


def _tell(level: int, message: str, *args: object, exc_info: BaseException | None = None) -> None:
    """Log. A handler that raises is somebody else's, and ends no thread of ours."""
    with suppress(Exception):
        log.log(level, message, *args, exc_info=exc_info, stacklevel=2)


@contextmanager
def without_log() -> Iterator[None]:
    """Keep the library's log quiet: a command tells by itself what went wrong."""

    def drop(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(drop)
    try:
        yield
    finally:
        log.removeFilter(drop)


class Outage:
    """Whether something is out of order at the moment, and since when.

    Protected by its journal's lock; tells the journal which reports are news.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many failures this outage has had so far; 0 when all is well."""
        return self._failures

    def failed(self) -> bool:
        """Note a failure; True if it begins an outage."""
        self._failures += 1
        if self._since is not None:
            return False
        self._since = now()
        return True

    def over(self) -> float | None:
        """Note that all is well; the outage's length in seconds if this ends one."""
        began, self._since, self._failures = self._since, None, 0
        return None if began is None else now() - began


class Journal:
    """Counts and log lines of one elector. Nothing here decides who leads.

    `_lock` protects counts and outages against other writers; it is never held
    while logging, since log handlers are user code. Readers take no lock: each
    attribute is a whole value, and a status may be a count behind.
    """

    def __init__(self, where: str) -> None:
        self._lock = Lock()
        self._where = where
        self.last_error: str | None = None
        self.answers = self.failures = 0
        self.events = self.unreadable = self.streams = 0
        self.callback_errors = self.overruns = 0
        self.stream = "off"
        self._get = Outage()
        self._stream = Outage()
        self._unheard_at = -inf
        self._bugs: set[str] = set()
        self._told_stream = False  # a line about the current stream outage was logged

    def held_back(self) -> None:
        """Started where nothing may start: in the master of a server that forks its workers."""
        _tell(logging.INFO, "this process only forks workers: the elector starts in them, not here")

    # --- GET ---------------------------------------------------------------------

    def answered(self) -> bool:
        """A GET was answered; True if that ends an outage."""
        with self._lock:
            self.answers += 1
            lasted = self._get.over()
        if lasted is not None:
            _tell(
                logging.INFO, "the elector at %s answers again, after %.1f s", self._where, lasted
            )
        return lasted is not None

    def failed(self, reason: str) -> None:
        """A GET got no usable answer."""
        with self._lock:
            self.failures += 1
            self.last_error = reason
            begins = self._get.failed()
        if begins:
            _tell(
                logging.WARNING,
                "no usable answer from the elector at %s: %s; asking on, "
                "and leading no longer than the grace period",
                self._where,
                reason,
            )

    # --- the stream --------------------------------------------------------------

    def stream_open(self) -> None:
        """The event stream is open and is one. What it is worth, its first event shows."""
        with self._lock:
            self.streams += 1
            self.stream = "open"

    def stream_lost(self, reason: str) -> None:
        """The stream ended or could not be opened; it is tried again.

        A stream that is back at the first try is no line worth; one that is gone
        together with GET is told with GET.
        """
        with self._lock:
            self.stream = "waiting"
            self.last_error = reason
            self._stream.failed()
            tell = self._stream.failures > 1 and not (self._told_stream or self._get.failures)
            self._told_stream |= tell
        _tell(logging.DEBUG, "event stream: %s", reason)
        if tell:
            _tell(logging.INFO, "no event stream: %s; polling meanwhile", reason)

    def stream_absent(self, reason: str) -> None:
        """There is no event stream at that address."""
        with self._lock:
            self.stream = "absent"
            self.last_error = reason
            self._stream.failed()
            tell = not (self._told_stream or self._get.failures)
            self._told_stream |= tell
        if tell:
            _tell(logging.INFO, "no event stream here: %s; polling alone", reason)

    def heard(self, count: int) -> None:
        """``count`` events could be read, so the stream works."""
        with self._lock:
            self.events += count
            lasted = self._stream.over()
            told, self._told_stream = self._told_stream, False
        if told and lasted is not None:
            _tell(logging.INFO, "the event stream is back, after %.1f s", lasted)

    def unheard(self, reason: str) -> None:
        """An event could not be read; the stream goes on. Told once, until there is none for long.

        That one could be read ends nothing: they may come in turns.
        """
        instant = now()
        with self._lock:
            self.unreadable += 1
            self.last_error = reason
            begins, self._unheard_at = instant - self._unheard_at >= READABLE_SPELL, instant
        if begins:
            _tell(logging.WARNING, "unreadable event from the elector: %s; ignored", reason)

    def _is_new_kind(self, kind: str) -> bool:
        with self._lock:
            is_new = kind not in self._bugs
            self._bugs.add(kind)
            self.last_error = kind
        return is_new

    # --- leadership and callbacks ----------------------------------------------------

    def elected(self, identity: str, number: int) -> None:
        """Leadership ``number`` is about to be announced."""
        _tell(logging.INFO, "%s leads (leadership %d)", identity, number)

    def demoted(self, identity: str, number: int) -> None:
        """The end of leadership ``number`` is about to be announced."""
        _tell(logging.INFO, "%s leads no longer (leadership %d)", identity, number)

    def callback_failed(self, name: str, error: BaseException) -> None:
        """A callback raised; whatever it raised ends here."""
        with self._lock:
            self.callback_errors += 1
            self.last_error = f"{name} raised {type(error).__name__}"
        _tell(logging.ERROR, "%s raised; other callbacks go on", name, exc_info=error)

    def callback_overran(self, name: str, seconds: float) -> None:
        """A callback keeps the others waiting."""
        with self._lock:
            self.overruns += 1
        _tell(
            logging.WARNING,
            "%s has been running for %.1f s; other callbacks wait for it "
            "(long work belongs into while_leader)",
            name,
            seconds,
        )

    def start_failed(self, error: Exception) -> None:
        """A forked child could not come alive by itself."""
        if self._is_new_kind(f"start met {type(error).__name__}"):
            _tell(
                logging.ERROR, "cannot start after a fork, so this process does not lead: %s", error
            )

    def thread_died(self, error: BaseException) -> None:
        """A thread of the library met something unforeseen: a bug, told loudly, once a kind."""
        kind = f"{current_thread().name} met {type(error).__name__}"
        if self._is_new_kind(kind):
            _tell(logging.CRITICAL, "%s, which was not foreseen; it goes on", kind, exc_info=error)

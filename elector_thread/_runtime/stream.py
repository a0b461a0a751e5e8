"""The stream thread: listens for news. It makes changes known faster; GET decides.

Owns the one open stream. Every connection costs the sidecar memory for good, so it
reconnects rarely: never because of silence, and with a back-off that only a long healthy
connection resets.
"""

from __future__ import annotations

import threading
from collections import deque
from math import inf

from .._sidecar.calls import SidecarClient, StreamEvent
from .._sidecar.events import Malformed, parse_leader
from .._sidecar.failures import ExchangeFailed, NoStream
from .._state.backoff import Attempt, keep_trying
from .._state.clock import Flag, now
from .._state.health import Health
from .._state.occurrences import (
    EventRead,
    EventUnreadable,
    StreamEnded,
    StreamOpened,
    UnexpectedError,
)
from .._state.store import Store

__all__ = ["Stream"]

LONGEST_PAUSE = 300.0
"""Seconds: the ceiling of the back-off, and the pause where the sidecar offers no stream."""

MOST_EARLY_TRIES = 5
"""How often within the longest pause a GET that works again may cut a pause short."""


class Stream:
    """Everything the stream thread does; `run` is its body. No other thread touches it."""

    def __init__(self, client: SidecarClient, store: Store, health: Health) -> None:
        self._client = client
        self._store = store
        self._health = health
        self._flag = Flag()  # set when GET works again, and by a stop
        self._recoveries = 0  # as of the newest attempt
        self._early_tries: deque[float] = deque([-inf] * MOST_EARLY_TRIES, maxlen=MOST_EARLY_TRIES)

    def run(self) -> None:
        """Keep a stream open until the store is closed."""
        with self._store.waking(self._flag, by_news=True):
            keep_trying(
                self._attempt,
                longest_pause=LONGEST_PAUSE,
                sleep=self._sleep,
                finished=lambda: self._store.closed,
            )

    def _attempt(self) -> Attempt:
        self._store.stream = "connecting"
        self._recoveries = self._store.recoveries
        began, opened = now(), inf
        try:
            with self._client.open_stream() as stream:
                opened = now()
                self._store.stream = "open"
                self._health.record(StreamOpened(opened - began))
                for event in stream:
                    self._take(event)
            reason = "closed by the elector"
        except NoStream as failure:
            self._end(str(failure), absent=True)
            return Attempt(0.0, pause=LONGEST_PAUSE)
        except ExchangeFailed as failure:
            reason = str(failure)
        except Exception as bug:  # without news, polling continues
            if not self._client.cancelled:  # else a library may have met the end in any way
                self._health.record(UnexpectedError(threading.current_thread().name, bug))
            reason = "internal error"
        self._end(reason, absent=False)
        return Attempt(max(0.0, now() - opened))

    def _take(self, event: StreamEvent) -> None:
        """Update the state before counting and logging."""
        try:
            leader = parse_leader(event.data)
        except Malformed as problem:
            self._store.add_news()
            self._health.record(EventUnreadable(self._client.redacted(problem)))
            return
        if leader is not None:
            self._store.confirm(leader, event.received_after, pushed=True)
        self._store.add_news()
        self._health.record(EventRead())

    def _end(self, reason: str, *, absent: bool) -> None:
        was_open = self._store.stream == "open"
        self._store.stream = "absent" if absent else "waiting"
        if self._store.closed:
            return
        self._health.record(StreamEnded(reason, absent, was_open))
        if was_open:
            self._recoveries = (
                self._store.recoveries
            )  # earlier recoveries must not shorten this pause
            self._store.add_news()

    def _sleep(self, seconds: float) -> None:
        """Pause; shorter if GET works again, at most MOST_EARLY_TRIES times per LONGEST_PAUSE."""
        until = now() + seconds
        while not self._store.closed and (left := until - now()) > 0:
            if self._store.recoveries != self._recoveries:
                self._recoveries = self._store.recoveries
                if now() - self._early_tries[0] >= LONGEST_PAUSE:
                    self._early_tries.append(now())
                    return
            self._flag.wait(left)
            self._flag.clear()

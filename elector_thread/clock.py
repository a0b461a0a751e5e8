"""The library's one clock, waiting, and the proof that this process has been running.

`now()` gives seconds that never step back and, on Linux, go on while the machine
sleeps (CLOCK_BOOTTIME): whoever was paused finds its leadership expired on
waking, before any thread has run. Elsewhere it is a monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import NamedTuple

__all__ = ["CLOCK", "WHICH", "Clock", "Flag", "Pulse", "now", "read_clock"]


def _best_clock() -> tuple[Callable[..., float], tuple[int, ...]]:
    if not hasattr(time, "CLOCK_BOOTTIME"):  # pragma: no cover - not Linux, for development only
        return time.monotonic, ()
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
    except OSError:  # pragma: no cover - a sandbox that knows the name, not the clock
        return time.monotonic, ()
    return time.clock_gettime, (time.CLOCK_BOOTTIME,)


read_clock, WHICH = _best_clock()
"""``read_clock(*WHICH)`` is `now()` at its cheapest, for `is_leader`, which is read all the
time: one call of a C function, with its arguments packed already."""

now = partial(read_clock, *WHICH)
"""Seconds on the library's clock."""


class Flag:
    """What a thread waits for and any other may set, a signal handler included.

    `threading.Event` holds a lock while it is set, and at either end of a wait: a handler
    that sets it there waits for ever for the thread that it has interrupted. Here the only
    lock is the flag itself, taken while it is not set, and every step of it is a single one.
    """

    __slots__ = ("_gate", "_set")

    def __init__(self) -> None:
        self._set = False
        self._gate = threading.Lock()  # free while set; whoever waits takes it and gives it back
        self._gate.acquire()

    def is_set(self) -> bool:
        """Whether it was set, and not cleared since."""
        return self._set

    def set(self) -> None:
        """Let everybody go on who waits, now or later."""
        self._set = True
        self._open()

    def clear(self) -> None:
        """Let those wait who come from now on. For the one thread that waits."""
        self._set = False
        self._gate.acquire(blocking=False)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, at most ``seconds``; whether it is."""
        if self._set:
            return True
        longest = threading.TIMEOUT_MAX if seconds is None else max(0.0, seconds)
        if self._gate.acquire(timeout=min(longest, threading.TIMEOUT_MAX)):
            self._open()
        return self._set

    def _open(self) -> None:
        with suppress(RuntimeError):  # open already
            self._gate.release()


class Clock:
    """The time, and waiting while it passes, as one thing that can be handed in.

    The state and its tokens take it from here; where nanoseconds count, `now` is called.
    """

    now = staticmethod(now)
    """Seconds that never step back."""

    def wait(self, flag: Flag, seconds: float | None) -> None:
        """Wait for ``flag``, at most ``seconds``; None: as long as it takes."""
        flag.wait(seconds)


CLOCK = Clock()
"""The real one."""


class _Beat(NamedTuple):
    since: float = -inf
    until: float = inf
    paused_since: float = -inf  # the beat before the newest pause
    doubted_until: float = -inf  # until when the stream thread may still read what it left


class Pulse:
    """Tells a paused process from a running one.

    The poll thread says "I ran just now, and I will again by then"; the stream
    thread asks how old an event that it has just read may be. Without a pause it
    is new. After one (SIGSTOP, a frozen container, a suspended host) it may have
    lain in the socket's buffer all along, since the last time we surely ran.

    One attribute, replaced as a whole: by the poll thread, and by whoever has refreshed.
    Should one overwrite the other, the older proof counts, which only makes for more doubt.
    """

    SLACK = 1.0
    """Seconds that a busy machine may delay a thread without it counting as a pause."""

    def __init__(self) -> None:
        self._beat = _Beat()

    def beat(self, lasts: float) -> None:
        """We run now, and will be back within ``lasts`` seconds."""
        instant, last = now(), self._beat
        beat = last._replace(since=instant, until=instant + lasts)
        if instant > last.until + self.SLACK:  # whoever wakes first: the stream thread may be next
            beat = beat._replace(paused_since=last.since, doubted_until=instant + self.SLACK)
        self._beat = beat

    def ran(self, instant: float) -> None:
        """We ran at ``instant``: an answer asked for then has come."""
        beat = self._beat
        if instant > beat.since:
            self._beat = beat._replace(since=instant)

    def overdue(self, instant: float) -> float:
        """Seconds by which the promised beat is late at ``instant``; negative while it is not."""
        return instant - self._beat.until

    def earliest_arrival(self, instant: float) -> float:
        """The earliest instant at which something read at ``instant`` can have come in."""
        beat = self._beat
        if instant > beat.until + self.SLACK:
            return beat.since
        return beat.paused_since if instant <= beat.doubted_until else instant

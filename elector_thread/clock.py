"""The library's one clock, and the proof that this process has been running.

`read(CLOCK_ID)` gives seconds that never step back and, on Linux, go on while
the machine sleeps (CLOCK_BOOTTIME): whoever was paused finds its leadership
expired on waking, before any thread has run. Elsewhere it is a monotonic clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf

__all__ = ["CLOCK_ID", "Pulse", "now", "read"]


def _best_clock() -> int:
    boottime: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    try:
        time.clock_gettime(boottime)
    except OSError:  # pragma: no cover - a sandbox that knows the name, not the clock
        return time.CLOCK_MONOTONIC
    return boottime


if hasattr(time, "clock_gettime"):
    CLOCK_ID = _best_clock()
    read = time.clock_gettime  # called directly where nanoseconds count
else:  # pragma: no cover - Windows, for development only
    CLOCK_ID = 0

    def read(_: int, /) -> float:
        """Seconds on a monotonic clock."""
        return time.monotonic()


def now() -> float:
    """Seconds on the library's clock."""
    return read(CLOCK_ID)


@dataclass(frozen=True, slots=True)
class _Beat:
    since: float = -inf
    until: float = inf


class Pulse:
    """Tells a paused process from a running one.

    The poll thread says "I ran just now, and I will again by then"; the stream
    thread asks how old an event that it has just read may be. Without a pause it
    is new. After one (SIGSTOP, a frozen container, a suspended host) it may have
    lain in the socket's buffer all along, since the last time we surely ran.

    One attribute, replaced as a whole by the poll thread and only read by others.
    """

    SLACK = 1.0
    """Seconds that a busy machine may delay a thread without it counting as a pause."""

    def __init__(self) -> None:
        self._beat = _Beat()

    def beat(self, lasts: float) -> None:
        """We run now, and will be back within ``lasts`` seconds."""
        instant = now()
        self._beat = _Beat(instant, instant + lasts)

    def overdue(self, instant: float) -> float:
        """Seconds by which the promised beat is late at ``instant``; negative while it is not."""
        return instant - self._beat.until

    def earliest_arrival(self, instant: float) -> float:
        """The earliest instant at which something read at ``instant`` can have come in."""
        beat = self._beat
        return instant if instant <= beat.until + self.SLACK else beat.since

"""What happened in the local elector, in order.

Runs on the local elector's event loop, so it needs no lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Entry", "History"]

Entry = dict[str, Any]

MAX_ENTRIES = 4000
"""Some hours of ordinary use."""


class History:
    """Entries with a number ``n``, a time ``t`` in seconds since the start, and ``what``.

    ``what`` is one of ``truth`` (leader; outgoing: the replica that led before, if it still
    runs; isolated: whether that one is), ``joined`` and ``gone`` (replica), ``view`` (replica,
    state, leader), ``fault`` (id, fault, replica, seconds, once: it is over at once, and not
    cleared), ``cleared`` (id, fault, replica) and ``disagreement`` (text, replicas, since; text
    is None when it is over).
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._followers: list[Callable[[Entry], object]] = []
        self._changed = asyncio.Event()
        self._count = 0

    def now(self) -> float:
        """Seconds since the start."""
        return round(time.monotonic() - self._began, 3)

    def add(self, what: str, **details: Any) -> None:
        """Record what has just happened, and pass it to every follower."""
        self._count += 1
        entry = {"n": self._count, "t": self.now(), "what": what, **details}
        self._entries.append(entry)
        self.wake()
        for follower in self._followers:
            follower(entry)

    def follow(self, follower: Callable[[Entry], object]) -> None:
        """Call ``follower(entry)`` on the event loop for each new entry; it must not block."""
        self._followers.append(follower)

    def after(self, number: int) -> list[Entry]:
        """The entries that are newer than entry ``number``."""
        return [entry for entry in self._entries if entry["n"] > number]

    async def wait(self, timeout: float) -> None:
        """Wait for the next entry, at most ``timeout`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)

    def wake(self) -> None:
        """End every `wait`."""
        self._changed.set()
        self._changed = asyncio.Event()

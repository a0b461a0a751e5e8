"""What happened, in order, as the page shows it: a bounded list that can be listened to.

Lives on one event loop, so needs no lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

__all__ = ["Chronicle", "Entry", "News"]

Entry = dict[str, Any]
News = asyncio.Queue[Entry | None]
"""Entries as they come; None says that something countable changed, nothing for the record."""

LENGTH = 4000
"""Entries kept: hours of an ordinary afternoon."""


class Chronicle:
    """Entries with a number and an instant, in seconds since the local elector's start.

    ``truth`` (leader), ``joined`` and ``gone`` (replica), ``view`` (replica, state,
    leader), ``fault`` and ``cleared`` (id, fault, replica, seconds), ``discord``
    (text, or None once it is over; since).
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.began_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._entries: deque[Entry] = deque(maxlen=LENGTH)
        self._listeners: set[News] = set()
        self._followers: list[Callable[[Entry], object]] = []
        self._count = 0

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def note(self, what: str, **details: Any) -> None:
        """Something happened just now."""
        self._count += 1
        entry = {"n": self._count, "t": round(self.now(), 3), "what": what, **details}
        self._entries.append(entry)
        for listener in self._listeners:
            listener.put_nowait(entry)
        for follower in self._followers:
            follower(entry)

    def follow(self, follower: Callable[[Entry], object]) -> None:
        """Call ``follower(entry)`` on the loop for every entry to come; it must not block."""
        self._followers.append(follower)

    def nudge(self) -> None:
        """Only numbers changed; whoever shows them may look again."""
        for listener in self._listeners:
            listener.put_nowait(None)

    def listen(self, after: int = 0) -> tuple[list[Entry], News]:
        """Everything kept that is newer than entry ``after``, and a queue of what comes."""
        news: News = asyncio.Queue()
        self._listeners.add(news)
        return [entry for entry in self._entries if entry["n"] > after], news

    def leave(self, news: News) -> None:
        """Listen no more."""
        self._listeners.discard(news)

"""The faults that are on right now: their numbers, their timers, and what they add up to.

Knows no replica and no face. Lives on one event loop, so needs no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from .chronicle import Chronicle
from .faults import Fault, Kind

__all__ = ["ActiveFaults"]


class ActiveFaults:
    """The book of faults.

    due: called with a fault whose time is over; it is still on, and to be ended.
    moved: called when a restart has come as far as listening again.
    """

    def __init__(
        self, chronicle: Chronicle, *, due: Callable[[Fault], None], moved: Callable[[], None]
    ) -> None:
        self._chronicle = chronicle
        self._due = due
        self._moved = moved
        self._on: dict[int, Fault] = {}
        self._timers: dict[int, list[asyncio.TimerHandle]] = {}
        self._listening: set[int] = set()  # restarts in their second half
        self._count = 0

    def __iter__(self) -> Iterator[Fault]:
        return iter(list(self._on.values()))

    def __contains__(self, fault: Fault) -> bool:
        return fault.number in self._on

    def announce(self, kind: Kind, replica: str | None, seconds: float | None) -> Fault:
        """A fault with a number of its own; on once it was begun."""
        self._count += 1
        fault = Fault(self._count, kind, replica, self._chronicle.now(), seconds)
        self._note("fault", fault, seconds=seconds)
        return fault

    def begin(self, fault: Fault) -> None:
        """It is on, for its time."""
        self._on[fault.number] = fault
        if fault.seconds is None:
            return
        later = asyncio.get_running_loop().call_later
        timers = [later(fault.seconds, self._due, fault)]
        if fault.kind is Kind.RESTART:
            timers.append(later(fault.seconds / 2, self._listen, fault))
        self._timers[fault.number] = timers

    def end(self, fault: Fault) -> None:
        """It is over, whether or not it was ever begun."""
        self._on.pop(fault.number, None)
        self._listening.discard(fault.number)
        for timer in self._timers.pop(fault.number, ()):
            timer.cancel()
        self._note("cleared", fault)

    def effects(self, name: str | None) -> frozenset[Kind]:
        """What they do to the face of that replica (None: to the plain one)."""
        return frozenset(self._effect(fault) for fault in self if fault.hits(name))

    def _effect(self, fault: Fault) -> Kind:
        if fault.kind is not Kind.RESTART:
            return fault.kind
        return Kind.EMPTY if fault.number in self._listening else Kind.REFUSE

    def _listen(self, fault: Fault) -> None:
        self._listening.add(fault.number)
        self._moved()

    def _note(self, what: str, fault: Fault, **more: Any) -> None:
        word, replica = fault.kind.word, fault.replica
        self._chronicle.note(what, id=fault.number, fault=word, replica=replica, **more)

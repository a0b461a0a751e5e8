"""The dispatch thread: tells user code, in order, what has changed. Owns the expiry timer.

Level-triggered: it compares what it has announced with what is true now, so a
slow callback makes it skip what is already over instead of piling it up. No lock
is held while a callback runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from threading import Lock, Thread
from typing import Any

from .callbacks import name_of
from .cell import Cell
from .clock import Flag, now
from .journal import Journal
from .leadership import Leadership
from .model import LeaderChange
from .rules import deadline

__all__ = ["Dispatch", "Kind", "Registration", "Registry"]


class Kind(Enum):
    """What a callback wants to be told."""

    ELECTED = "on_elected"
    DEMOTED = "on_demoted"
    CHANGED = "on_leader_change"


class Registration:
    """One callback and what it was told last. `told` belongs to the dispatch thread."""

    __slots__ = ("call", "callback", "kind", "name", "removed", "told")

    def __init__(
        self, kind: Kind, callback: Callable[..., object], call: Callable[[Any], object]
    ) -> None:
        self.kind = kind
        self.callback = callback
        self.call = call
        self.name = f"{kind.value} callback {name_of(callback)}"
        self.told: object = None
        self.removed = False


class Registry:
    """The callbacks, in the order of registration.

    `_lock` makes writers take turns. The tuple is replaced as a whole, so the
    dispatch thread walks over it without the lock.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: tuple[Registration, ...] = ()

    def add(
        self, kind: Kind, callback: Callable[..., object], call: Callable[[Any], object]
    ) -> None:
        """Append a callback; ``call`` takes exactly one argument."""
        entry = Registration(kind, callback, call)
        with self._lock:
            self._entries = (*self._entries, entry)

    def remove(self, callback: Callable[..., object]) -> bool:
        """Take every registration of ``callback`` out; False if there was none."""
        with self._lock:
            gone = [entry for entry in self._entries if entry.callback == callback]
            self._entries = tuple(entry for entry in self._entries if entry not in gone)
            for entry in gone:
                entry.removed = True
        return bool(gone)

    def of(self, kind: Kind) -> list[Registration]:
        """Those of one kind, in order."""
        return [entry for entry in self._entries if entry.kind is kind]

    def forget_told(self) -> None:
        """A new life begins: nobody was told anything yet."""
        for entry in self._entries:
            entry.told = None

    def reset_lock_after_fork(self) -> None:
        """In a forked child: whoever held the lock is gone."""
        self._lock = Lock()


class Dispatch:
    """Everything the dispatch thread does; `run` is its body.

    Cross-thread: `_running` is written by this thread and read by `check_overrun`,
    which the poll thread calls as well; `_overrun_lock` keeps it to one line a call.
    `held_up` reads `_running` and `_announced` from any thread; each is replaced whole.
    """

    def __init__(
        self,
        cell: Cell,
        registry: Registry,
        journal: Journal,
        stopping: Flag,
        *,
        overrun_after: float,
        predecessor: Thread | None,
    ) -> None:
        self._cell = cell
        self._registry = registry
        self._journal = journal
        self._stopping = stopping
        self._overrun_after = overrun_after
        self._predecessor = predecessor
        self._announced: Leadership | None = None
        self._leader_told: str | None = None
        self._running: tuple[str, float] | None = None
        self._overrun_lock = Lock()
        self._overrun: tuple[str, float] | None = None
        self._process = os.getpid()

    def run(self) -> None:
        """Announce until told to stop, then announce the end of what was announced."""
        if self._predecessor is not None and self._predecessor.ident is not None:
            self._predecessor.join()  # its last callback may still run: never two at once
        self._registry.forget_told()
        while True:
            version = self._cell.version
            stopping = self._stopping.is_set()  # before: what has ended by then is told below
            if now() >= deadline(self._cell.snapshot):
                self._cell.tick()
            self.drain()
            if stopping:
                return
            self._cell.wait_beyond(version, deadline(self._cell.snapshot))

    def held_up(self, instant: float) -> float:
        """Seconds for which a callback has kept the end of a leadership from being announced.

        Counted from the callback's begin; 0 while nothing is held up. A slow callback
        alone is no hold-up: nobody waits for it but other beginnings.
        """
        running, announced = self._running, self._announced
        if running is None or announced is None or not announced.ended:
            return 0.0
        return instant - running[1]

    def drain(self) -> None:
        """Announce whatever there is to announce, then return."""
        while self._announce_something():
            pass

    def check_overrun(self) -> None:
        """Log, once, a callback that has been running for too long."""
        running = self._running
        if running is None or now() - running[1] < self._overrun_after:
            return
        with self._overrun_lock:
            known, self._overrun = self._overrun is running, running
        if not known:
            self._journal.callback_overran(running[0], now() - running[1])

    def _announce_something(self) -> bool:
        """Announce the most urgent thing; False if there is nothing to announce."""
        announced = self._announced
        if announced is not None and announced.ended:
            self._announce_end(announced)
            return True
        if self._stopping.is_set():
            return False
        current = self._cell.leadership
        if current is not None and not current.ended and self._announce(current):
            return True
        return self._announce_leader()

    def _announce(self, leadership: Leadership) -> bool:
        untold = [e for e in self._registry.of(Kind.ELECTED) if e.told is not leadership]
        if self._announced is leadership and not untold:
            return False
        for entry in untold:
            if leadership.ended:
                return True
            self._note_announced(leadership)
            entry.told = leadership
            self._call(entry, leadership)
        if not leadership.ended:
            self._note_announced(leadership)
        return True

    def _note_announced(self, leadership: Leadership) -> None:
        if self._announced is not leadership:
            self._announced = leadership
            self._journal.elected(self._cell.snapshot.identity, leadership.number)

    def _announce_end(self, leadership: Leadership) -> None:
        self._announced = None
        self._journal.demoted(self._cell.snapshot.identity, leadership.number)
        for entry in self._registry.of(Kind.DEMOTED):
            self._call(entry, leadership)

    def _announce_leader(self) -> bool:
        """The next leader change to everybody; the present leader to handlers that came late."""
        change = self._cell.next_change()
        told = False
        for entry in self._registry.of(Kind.CHANGED):
            if entry.told is None and self._leader_told is not None:
                self._tell_leader(entry, LeaderChange(None, self._leader_told))
                told = True
            if change is not None:
                self._tell_leader(entry, change)
        if change is not None:
            self._leader_told = change.current
        return told or change is not None

    def _tell_leader(self, entry: Registration, change: LeaderChange) -> None:
        entry.told = change
        self._call(entry, change)

    def _call(self, entry: Registration, argument: object) -> None:
        if entry.removed:
            return
        self._running = (entry.name, now())
        failure: BaseException | None = None
        try:
            entry.call(argument)
        except BaseException as error:  # contained, SystemExit too: this thread is not theirs
            failure = error
        if os.getpid() != self._process:  # the callback forked, and this is what the child
            raise SystemExit from failure  # returns to: nothing here is its to announce
        if failure is not None:
            self._journal.callback_failed(entry.name, failure)
        self.check_overrun()
        self._running = None

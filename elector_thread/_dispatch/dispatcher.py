"""The dispatch thread: announces changes to user code, in order. Owns the expiry timer.

Level-triggered: it compares what it has announced with what is true now, so a slow
callback makes it skip what is already over instead of queueing it. No lock is held while
a callback runs.
"""

from __future__ import annotations

import os
from typing import Protocol, TypeGuard
from weakref import WeakKeyDictionary

from .._state.clock import Flag, now
from .._state.health import Health
from .._state.leadership import Leadership
from .._state.model import LeaderChange
from .._state.occurrences import (
    CallbackDone,
    CallbackFailed,
    LeadershipAnnounced,
    WorkShared,
)
from .._state.rules import deadline, leader_at
from .._state.store import Store
from .registry import Registration, Registry
from .worker import Worker

__all__ = ["Dispatcher"]


class Mark(Protocol):
    """Marks this process as one that runs leader-only work; see `WorkMark`."""

    shared: bool
    first: bool

    def set(self) -> None: ...

    def remove(self) -> None: ...


class Dispatcher:
    """Everything the dispatch thread does; `run` is its body.

    `_announced` is also read by `held_up`, from any thread; it is replaced as a whole.

    mark: None where no other process can do the same work.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        health: Health,
        *,
        overrun_after: float,
        predecessor: Worker | None = None,
        mark: Mark | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._health = health
        self._overrun_after = overrun_after
        self._predecessor = predecessor
        self._mark = mark
        self._marked = False
        self._announced: Leadership | None = None
        self._leader: str | None = None  # the newest leader that was announced
        # what each callback was called with last; weak, since callbacks may be removed
        self._notified: WeakKeyDictionary[Registration, object] = WeakKeyDictionary()
        self._process = os.getpid()

    def run(self) -> None:
        """Announce until the store is closed, then announce the end of what was announced."""
        if self._predecessor is not None:
            self._predecessor.ended.wait()  # its last callback may still run: never two at once
            self._predecessor = None  # it would keep every earlier run alive
        try:
            self._announce_until_closed()
        finally:
            self._unmark()

    def _announce_until_closed(self) -> None:
        flag = Flag()
        with self._store.waking(flag):
            while not self._store.inherited:
                flag.clear()
                closed = self._store.closed  # before: what ends until then is announced below
                expiry = deadline(self._store.snapshot)
                if now() >= expiry:
                    self._store.expire()
                if not closed:
                    self._mark_work()
                self.drain()
                if closed:
                    return
                flag.wait(deadline(self._store.snapshot) - now())

    def _mark_work(self) -> None:
        """Once there is leader-only work, on a follower too: tell other processes, and the log."""
        if self._mark is None or self._marked or not self._registry.has_work:
            return
        self._marked = True
        self._mark.set()
        self._health.shares_work = self._mark.shared
        if self._mark.shared and self._mark.first:
            self._health.record(WorkShared())

    def _unmark(self) -> None:
        if self._mark is not None:
            self._mark.remove()
            self._health.shares_work = False

    def drain(self) -> None:
        """Announce everything there is to announce, then return."""
        while self._announce_something():
            pass

    def held_up(self, instant: float) -> float:
        """Seconds for which a callback has delayed the announcement of a leadership's end.

        Counted from the beginning of the callback; 0 while nothing is delayed.
        """
        running, announced = self._health.running, self._announced
        if running is None or announced is None or not announced.ended:
            return 0.0
        return instant - running[1]

    def _announce_something(self) -> bool:
        """Announce the most urgent thing; False if there is nothing to announce."""
        announced = self._announced
        if announced is not None and announced.ended:
            self._announce_end(announced)
            return True
        if self._store.closed:
            return False
        current = self._store.leadership
        if current is not None and not current.ended and self._announce(current):
            return True
        return self._announce_leader()

    def _announce(self, leadership: Leadership) -> bool:
        """Announce a beginning to the callbacks that were not called with it yet."""
        registered = self._registry.of("on_elected")
        pending = [e for e in registered if self._notified.get(e) is not leadership]
        if self._announced is leadership and not pending:
            return False
        for entry in pending:
            if leadership.ended:
                return True
            self._note_announced(leadership)
            self._call(entry, leadership)
        if not leadership.ended:
            self._note_announced(leadership)
        return True

    def _note_announced(self, leadership: Leadership) -> None:
        if self._announced is not leadership:
            self._announced = leadership
            self._health.record(self._announcement(leadership, ended=False))

    def _announce_end(self, leadership: Leadership) -> None:
        self._announced = None
        self._store.expire()  # if the clock ended it just now: so that it has its reason
        self._health.record(self._announcement(leadership, ended=True))
        for entry in self._registry.of("on_demoted"):
            self._call(entry, leadership)

    def _announcement(self, leadership: Leadership, *, ended: bool) -> LeadershipAnnounced:
        identity = self._store.snapshot.identity
        return LeadershipAnnounced(identity, leadership.number, ended, leadership.reason)

    def _announce_leader(self) -> bool:
        """Announce the next leader change, and the present leader to callbacks that came late."""
        change = self._store.next_change()
        called = False
        for entry in self._registry.of("on_leader_change"):
            if entry not in self._notified and self._is_known(self._leader):
                self._call(entry, LeaderChange(None, self._leader))
                called = True
            if change is not None:
                self._call(entry, change)
        if change is not None:
            self._leader = change.current
        return called or change is not None

    def _is_known(self, leader: str | None) -> TypeGuard[str]:
        """Whether ``leader``, which was announced last, is still known to be the leader."""
        return leader is not None and leader == leader_at(self._store.snapshot, self._store.now())

    def _call(self, entry: Registration, argument: object) -> None:
        if entry not in self._registry:  # removed meanwhile
            return
        self._notified[entry] = argument
        began = now()
        self._health.running = (entry.name, began)
        failure: BaseException | None = None
        try:
            entry.call(argument)
        except BaseException as error:  # SystemExit, too: this thread is ours
            failure = error
        if os.getpid() != self._process:  # the callback forked, and this is what the child
            raise SystemExit from failure  # returns to: there is nothing here to announce
        if failure is not None:
            self._health.record(CallbackFailed(entry.name, failure))
        self._health.record(CallbackDone(entry.name, now() - began))
        self._health.check_overrun(self._overrun_after)
        self._health.running = None

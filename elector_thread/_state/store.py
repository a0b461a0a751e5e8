"""The one place where the state lives, from a start of the elector to its stop.

Writers (the stream, poll, dispatch and lock threads, and `Runtime`) take the lock, so
that changes have one order. Readers take `Store.snapshot`, a single attribute that is
replaced as a whole, and compare its deadlines with the clock. No user code runs here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from .clock import CLOCK, Clock, Flag, is_held_here
from .leadership import Leadership, Waker
from .model import (
    Change,
    Confirmation,
    Demoted,
    Elected,
    Input,
    LeaderChange,
    LeaseRead,
    LeaseReading,
    LockHeld,
    Snapshot,
    Stopped,
    Tick,
)
from .occurrences import ContactLost, Event, LeaderConfirmed, LeadershipGained, LeadershipLost
from .rules import advance, is_known, unknowing

__all__ = ["Store"]

MAX_PENDING_CHANGES = 16
"""Leader changes kept for a slow handler; beyond that they fold into a single one."""


class Store:
    """Owns the snapshot, the current leadership and the leader changes not yet announced.

    `_lock` makes writers take turns; it protects `_pending` and the order in which
    `snapshot` and `leadership` are replaced. Every other attribute is a single value that
    is read without the lock: `closed` and `inherited` only ever become True, `stream` is
    written by the stream thread and `recoveries` by the poll thread; the stream thread sets
    `news`, and the poll thread resets it before it asks. Each operation on the two dicts of
    flags is atomic. Re-entrant, because a signal handler may call `close` at any point.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        clock: Clock = CLOCK,
        record: Callable[[Event], object] = lambda _: None,
    ) -> None:
        """``record`` is called with what happened, without the lock, on the writer's thread."""
        self._lock = threading.RLock()
        self.record = record
        self.clock = clock
        self.snapshot = snapshot
        self.leadership: Leadership | None = None
        self.closed = False
        self.inherited = False
        self.stream = "off"
        self.news = False  # since the newest GET
        self.recoveries = 0
        self._pending: deque[LeaderChange] = deque()
        self._change_flags: dict[Waker, None] = {}  # of threads that wait for changes
        self._news_flags: dict[Waker, None] = {}  # of threads that wait for news of a source

    # --- reading, without the lock -------------------------------------------------

    def now(self) -> float:
        """The instant with which those in `snapshot` are to be compared."""
        return self.clock.now()

    def lead_until(self, number: int) -> float:
        """Until when leadership ``number`` holds; ``-inf`` once it is over."""
        snapshot = self.snapshot
        return snapshot.lead_until if snapshot.number == number else -inf

    # --- writing ---------------------------------------------------------------------

    def reset(self, snapshot: Snapshot) -> None:
        """Begin with ``snapshot``, before anything has started."""
        with self._lock:
            self.snapshot = unknowing(self.snapshot) if self.closed else snapshot

    def confirm(self, leader: str | None, at: float, *, pushed: bool = False) -> None:
        """The sidecar named ``leader``, as of the instant ``at``; see `Confirmation`."""
        with self._lock:
            happened = self._take_unless_closed(Confirmation(leader, at, self.now(), pushed))
        self._report(happened)

    def expire(self) -> None:
        """Let time pass: publish the end of what has expired."""
        with self._lock:
            happened = self._take(Tick(self.now()))
        self._report(happened)

    def set_lock_held(self, held: bool) -> None:
        """This process took or lost the pod's lock (``scope="process"``)."""
        with self._lock:
            happened = self._take_unless_closed(LockHeld(held, self.now()))
        self._report(happened)

    def verify(self, reading: LeaseReading) -> None:
        """The Lease was read; see `LeaseReading`."""
        with self._lock:
            happened = self._take_unless_closed(LeaseRead(reading, self.now()))
        self._report(happened)

    def close(self) -> list[Event]:
        """Nothing is known any more, for good: later confirmations count for nothing.

        Returns what happened, which the caller is to record when it holds no lock.
        """
        with self._lock:
            self.closed = True
            happened = self._take(Stopped(self.now()))
            self._pending.clear()
        self.wake()
        _set_all(self._news_flags)
        return happened

    def add_news(self) -> None:
        """The stream brought an event, or ended: the poll thread is to ask at once.

        It is woken even while it must not ask yet: an event that names this process makes it
        read the Lease first.
        """
        self.news = True
        _set_all(self._news_flags)

    def add_recovery(self) -> None:
        """GET is answered again: the stream thread may try earlier."""
        self.recoveries += 1
        _set_all(self._news_flags)

    def next_change(self) -> LeaderChange | None:
        """Take the oldest leader change that was not announced yet."""
        with self._lock:
            return self._pending.popleft() if self._pending else None

    def void(self) -> None:
        """In a forked child: end every leadership of the parent. Takes no lock.

        Under gevent the parent's threads continue in the child; `inherited` ends them.
        """
        self.closed = self.inherited = True
        self.snapshot = unknowing(self.snapshot)

    # --- waiting -----------------------------------------------------------------------

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted a writer."""
        return is_held_here(self._lock)

    def wake(self) -> None:
        """Wake the threads that wait for changes: there may be something for them to do."""
        _set_all(self._change_flags)

    @contextmanager
    def waking(self, flag: Waker, *, by_news: bool = False) -> Iterator[None]:
        """Within the block ``flag`` is set by every change, or else by news of a source.

        `close` sets both kinds.
        """
        flags = self._news_flags if by_news else self._change_flags
        flags[flag] = None
        try:
            yield
        finally:
            del flags[flag]

    def wait_for(self, wanted: Callable[[Snapshot, float], bool], timeout: float | None) -> bool:
        """Wait until ``wanted(snapshot, instant)``; False after ``timeout`` seconds or `close`."""
        give_up = inf if timeout is None else self.now() + timeout
        flag = Flag()
        with self.waking(flag):
            while True:
                flag.clear()
                instant = self.now()
                if wanted(self.snapshot, instant):
                    return True
                if self.closed or instant >= give_up:
                    return False
                flag.wait(give_up - instant)

    def _report(self, happened: list[Event]) -> None:
        for event in happened:
            self.record(event)

    # --- with the lock held --------------------------------------------------------

    def _take_unless_closed(self, given: Input) -> list[Event]:
        return [] if self.closed else self._take(given)

    def _take(self, given: Input) -> list[Event]:
        """Replace the snapshot first of all: with that assignment, state and token flip."""
        before = self.snapshot
        after, changes = advance(before, given)
        if after is before:
            return []
        self.snapshot = after
        if self.closed:  # by a signal handler that struck between the lines above
            self.snapshot = unknowing(after)
        happened = self._renew_leadership(after, changes)
        for change in changes:
            if isinstance(change, LeaderChange):
                self._keep(change)
        if changes or is_known(before, given.now) != is_known(after, given.now):
            self.wake()
        if after.confirmed_at > before.confirmed_at and after.named is not None:
            happened.append(LeaderConfirmed(after.named, after.confirmed_at))
        if before.known_until > -inf and after.known_until == -inf:
            happened.append(ContactLost())
        return happened

    def _renew_leadership(self, after: Snapshot, changes: tuple[Change, ...]) -> list[Event]:
        """Wake those who wait for the old leadership's end, and make the new one."""
        happened: list[Event] = []
        old = self.leadership
        for change in changes:
            if isinstance(change, Demoted) and old is not None:
                old._end(change.reason)
                lasted = self.now() - old.since
                happened.append(LeadershipLost(change.number, change.reason, lasted))
            if isinstance(change, Elected):
                happened.append(LeadershipGained(change.number, after.fence))
        if after.lead_until > -inf and (old is None or old.number != after.number):
            self.leadership = Leadership(
                after.number, self.now(), self.lead_until, self.clock, after.fence
            )
        return happened

    def _keep(self, change: LeaderChange) -> None:
        if len(self._pending) >= MAX_PENDING_CHANGES:
            first = self._pending[0].previous
            self._pending.clear()
            if first == change.current:
                return
            change = LeaderChange(first, change.current)
        self._pending.append(change)


def _set_all(flags: dict[Waker, None]) -> None:
    for flag in list(flags):
        flag.set()

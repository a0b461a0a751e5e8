"""The one place where the state lives: a frozen snapshot behind a lock.

Writers (stream, poll, dispatch, `Elector.stop`) go through the lock, one at a
time, so that changes have one order. Readers take `Cell.snapshot`, a single
attribute that is replaced as a whole, and compare its deadlines with the clock.
No user code runs here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from threading import Condition

from .clock import CLOCK, Clock
from .leadership import Leadership
from .model import (
    Change,
    Confirmation,
    Elected,
    LeaderChange,
    Seat,
    Snapshot,
    Stopped,
    Tick,
)
from .rules import advance, unknowing

__all__ = ["Cell"]

MAX_PENDING_CHANGES = 16
"""Leader changes kept for a slow handler; beyond that they fold into a single one."""


class Cell:
    """Owns the snapshot, the current leadership token and the untold leader changes.

    `_lock` protects every attribute below against other writers; `_changed` is its
    condition. `snapshot` alone is also read without it: one reference,
    replaced atomically, holding frozen values.
    """

    def __init__(self, snapshot: Snapshot, clock: Clock = CLOCK) -> None:
        self._lock = threading.RLock()  # looked up late: gevent may have patched it meanwhile
        self._changed = Condition(self._lock)
        self.snapshot = snapshot
        self._clock = clock
        self._leadership: Leadership | None = None
        self._pending: deque[LeaderChange] = deque()
        self._epoch = 0  # one per life; words of an ended life count for nothing
        self._version = 0  # grows with whatever the dispatch thread may have to act on
        self.elected = 0  # counts, for the status
        self.demoted = 0

    # --- reading, without the lock -------------------------------------------------

    @property
    def epoch(self) -> int:
        """The current life's number; give it back to `hear` with what this life heard."""
        return self._epoch

    @property
    def version(self) -> int:
        """Grows with every change; read it before looking, then `wait_beyond` it."""
        return self._version

    @property
    def leadership(self) -> Leadership | None:
        """The newest leadership, over or not; None before the first."""
        return self._leadership

    def lead_until(self, number: int) -> float:
        """Until when leadership ``number`` holds; ``-inf`` once it is over."""
        snapshot = self.snapshot
        return snapshot.lead_until if snapshot.number == number else -inf

    def now(self) -> float:
        """The instant that those in `snapshot` are to be compared with."""
        return self._clock.now()

    # --- writing -----------------------------------------------------------------

    def hear(
        self, epoch: int, leaders: Sequence[str | None], at: float, *, pushed: bool = False
    ) -> None:
        """Take in who leads, as heard at ``at``: several names are news that came in at once.

        Only the last of them is ever visible as the state, since the others were
        over before they arrived; all of them are leader changes.
        """
        with self._lock:
            if epoch != self._epoch:
                return
            instant = self._clock.now()
            after = self.snapshot
            changes: tuple[Change, ...] = ()
            for name in leaders:
                after, more = advance(after, Confirmation(name, at, instant, pushed))
                changes += more
            self._become(after, changes, instant)

    def tick(self) -> None:
        """Let time pass: publishes the end of a leadership that has run out."""
        with self._lock:
            self._take_in(Tick(self.now()))

    def seat(self, epoch: int, held: bool) -> None:
        """This process took or lost the pod's one seat (``scope="process"``)."""
        with self._lock:
            if epoch == self._epoch:
                self._take_in(Seat(held, self.now()))

    def end_epoch(self) -> None:
        """The life is over: nothing is known any more, and what it still hears is void."""
        with self._lock:
            self._epoch += 1
            self._take_in(Stopped(self.now()))
            self._pending.clear()
            self._touch()

    def touch(self) -> None:
        """Wake the dispatch thread: there may be something to do (a new callback, say)."""
        with self._lock:
            self._touch()

    def next_change(self) -> LeaderChange | None:
        """Take the oldest leader change that nobody was told of yet."""
        with self._lock:
            return self._pending.popleft() if self._pending else None

    def void_after_fork(self) -> None:
        """In a forked child: end every leadership that is still referred to. Takes no lock."""
        self.snapshot = unknowing(self.snapshot)

    # --- waiting -----------------------------------------------------------------

    def wait_beyond(self, version: int, until: float) -> None:
        """Wait for a version other than ``version``, or for the instant ``until``."""
        with self._changed:
            while self._version == version and (left := until - self.now()) > 0:
                self._changed.wait(min(left, threading.TIMEOUT_MAX))

    def wait_for(self, wanted: Callable[[Snapshot, float], bool], timeout: float | None) -> bool:
        """Wait until ``wanted(snapshot, instant)``; False after ``timeout`` seconds or a stop."""
        give_up = inf if timeout is None else self.now() + timeout
        with self._changed:
            epoch = self._epoch
            while not wanted(self.snapshot, self.now()):
                left = give_up - self.now()
                if left <= 0 or self._epoch != epoch:
                    return False
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
        return True

    # --- with the lock held --------------------------------------------------------

    def _take_in(self, given: Tick | Seat | Stopped) -> None:
        self._become(*advance(self.snapshot, given), given.now)

    def _become(self, after: Snapshot, changes: tuple[Change, ...], instant: float) -> None:
        """The snapshot is replaced first of all: with that one assignment, state and token flip."""
        before = self.snapshot
        if after is before:
            return
        self.snapshot = after
        for change in changes:
            self._note(change)
        self._renew_leadership(after)
        # one that has run out unnoticed is as good as unknown to those who wait to know
        if changes or (instant < before.known_until) != (instant < after.known_until):
            self._touch()

    def _note(self, change: Change) -> None:
        if isinstance(change, LeaderChange):
            self._keep(change)
        elif isinstance(change, Elected):
            self.elected += 1
        else:
            self.demoted += 1

    def _keep(self, change: LeaderChange) -> None:
        if len(self._pending) >= MAX_PENDING_CHANGES:
            first = self._pending[0].previous
            self._pending.clear()
            if first == change.current:
                return
            change = LeaderChange(first, change.current)
        self._pending.append(change)

    def _renew_leadership(self, now_known: Snapshot) -> None:
        """Wake who waits for the old token's end, and make a new one if we lead anew."""
        old = self._leadership
        if old is not None and self.lead_until(old.number) == -inf:
            old._end()
        if now_known.lead_until > -inf and (old is None or old.number != now_known.number):
            number = now_known.number
            self._leadership = Leadership(number, self.now(), self.lead_until, self._clock)

    def _touch(self) -> None:
        self._version += 1
        self._changed.notify_all()

"""The token of one leadership: what long-running work looks at to learn that it must end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import time
from typing import Protocol

from ..errors import NotLeaderError
from .clock import CLOCK, Clock, Flag
from .model import Reason

__all__ = ["Leadership", "Waker"]


class Waker(Protocol):
    """What a leadership sets at its end: a `Flag`, or what takes its place on an event loop.

    `set` is called with the store's lock held. It must return at once and run no user code.
    """

    def set(self) -> None:
        """Wake what waits."""


class Leadership:
    """One period of leadership, from its beginning to its end; it never becomes valid again.

    Callbacks and ``while_leader`` functions receive one. Safe to use from any thread, and
    to keep after the end.

    Example::

        def poll(leadership):
            while not leadership.wait(timeout=10):
                do_one_round()
    """

    __slots__ = (
        "_clock",
        "_over",
        "_over_at",
        "_until",
        "_wakers",
        "fence",
        "number",
        "reason",
        "since",
    )

    number: int
    """Counts this process's leaderships, from 1."""
    since: float
    """When it began, in seconds on the library's clock (not the wall clock)."""
    fence: int | None
    """A number that grows from term to term, for `elector_thread.fencing`; None without
    ``verify="lease"``. Source: the ``resourceVersion`` of the Lease when this process first
    read it in this term."""
    reason: Reason | None
    """Why it ended: ``"replaced"``, ``"expired"``, ``"unverified"`` or ``"stopped"``. None while it
    lasts, and until the library has noticed the end; ``on_demoted`` callbacks always find it."""

    def __init__(
        self,
        number: int,
        since: float,
        until: Callable[[int], float],
        clock: Clock = CLOCK,
        fence: int | None = None,
    ) -> None:
        self.number = number
        self.fence = fence
        self.since = since
        self.reason = None
        self._until = until  # until when leadership N holds; reads one attribute, no lock
        self._clock = clock
        self._over = Flag()  # only wakes waiters; `_until` decides
        self._over_at: float | None = None  # Unix time at which the end was noticed
        self._wakers: dict[Waker, None] = {}  # besides `_over`; each operation on it is atomic

    @property
    def ended(self) -> bool:
        """Whether this leadership is over. Checked against the clock at every read."""
        return self._clock.now() >= self._until(self.number)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most ``timeout`` seconds (None: without a limit).

        Returns True once the leadership is over, False if the time ran out first. Use it
        in place of ``time.sleep`` in leader-only loops. It wakes when the grace period
        runs out even if every other thread of the library is stuck.
        """
        give_up = inf if timeout is None else self._clock.now() + timeout
        while True:
            instant, until = self._clock.now(), self._until(self.number)
            if instant >= until:
                return True
            if instant >= give_up:
                return False
            left = min(until, give_up) - instant
            self._clock.wait(self._over, None if left == inf else left)

    def check(self) -> None:
        """Raise `NotLeaderError` once this leadership is over. Use it between two steps of work."""
        if self.ended:
            raise NotLeaderError(f"leadership {self.number} is over")

    def _end(self, reason: Reason) -> None:
        """Wake every waiter. Called by the store after the leadership has ended.

        The store's lock is held. A `Flag` is set in one step, and one of an event loop by
        ``call_soon_threadsafe``, which puts a call of ours in a queue: no user code runs here.
        """
        self.reason = reason
        self._over_at = time()
        self._over.set()
        for waker in list(self._wakers):
            waker.set()

    @contextmanager
    def _waking(self, waker: Waker) -> Iterator[None]:
        """Within the block ``waker`` is set by the end, unless the end came before."""
        self._wakers[waker] = None
        try:
            yield
        finally:
            del self._wakers[waker]

    def _left(self) -> float:
        """Seconds until it expires without another confirmation; 0 or less once it is over."""
        return self._until(self.number) - self._clock.now()

    def __repr__(self) -> str:
        return f"<Leadership {self.number}{' ended' if self.ended else ''}>"

"""The token of one leadership for code on an event loop. Imported only where it is used."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf

from .leadership import Leadership
from .model import Reason

__all__ = ["AsyncFlag", "AsyncLeadership"]


class AsyncFlag:
    """What tasks of one event loop wait for and any thread may set. Made on that loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()  # only touched on the loop
        self._set = False

    def is_set(self) -> bool:
        """Whether the flag was set, and not cleared since."""
        return self._set

    def set(self) -> None:
        """Wake every waiter, present and future. Never blocks."""
        self._set = True
        with suppress(RuntimeError):  # the loop was closed: nothing waits there
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Make later waits block again. For flags with a single waiter, which calls this."""
        self._set = False
        self._event.clear()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the flag is set, at most ``seconds``; whether it is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        return self._set


class AsyncLeadership:
    """A `Leadership` whose `wait` is awaited: what an ``async def`` receives.

    Everything else is the same.

    Example::

        async def poll(leadership):
            while not await leadership.wait(timeout=10):
                await do_one_round()
    """

    __slots__ = ("_leadership",)

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership

    @property
    def number(self) -> int:
        """Counts this process's leaderships, from 1."""
        return self._leadership.number

    @property
    def since(self) -> float:
        """When it began, in seconds on the library's clock (not the wall clock)."""
        return self._leadership.since

    @property
    def fence(self) -> int | None:
        """See `Leadership.fence`."""
        return self._leadership.fence

    @property
    def reason(self) -> Reason | None:
        """Why it ended; see `Leadership.reason`."""
        return self._leadership.reason

    @property
    def ended(self) -> bool:
        """Whether this leadership is over. Checked against the clock at every read."""
        return self._leadership.ended

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most ``timeout`` seconds (None: without a limit).

        Returns True once the leadership is over, False if the time ran out first. Use it in
        place of ``asyncio.sleep``. It wakes when the grace period runs out even if every
        thread of the library is stuck. In a ``while_leader`` function the end raises
        ``CancelledError`` here, as in everything that the function awaits.
        """
        token = self._leadership
        give_up = inf if timeout is None else token._clock.now() + timeout
        flag = AsyncFlag()
        with token._waking(flag):
            while (left := token._left()) > 0:
                remaining = give_up - token._clock.now()
                if remaining <= 0:
                    return False
                longest = min(left, remaining)
                await token._clock.wait_async(flag, None if longest == inf else longest)
        await asyncio.sleep(0)  # a while_leader function is cancelled here, not somewhere later
        return True

    def check(self) -> None:
        """Raise `NotLeaderError` once this leadership is over. Use it between two steps of work."""
        self._leadership.check()

    def __repr__(self) -> str:
        return f"<Async{repr(self._leadership)[1:]}"

"""The library's one clock, and waiting.

`now()` returns seconds that never step back and, on Linux, continue while the
machine is suspended (CLOCK_BOOTTIME): a process that was paused finds its leadership
expired on waking, before any thread has run. Elsewhere it is a monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

__all__ = ["CLOCK", "WHICH", "Clock", "Flag", "LoopFlag", "is_held_here", "now", "read_clock"]


def _best_clock() -> tuple[Callable[..., float], tuple[int, ...]]:
    if not hasattr(time, "CLOCK_BOOTTIME"):  # pragma: no cover - not Linux
        return time.monotonic, ()
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
    except OSError:  # pragma: no cover - a sandbox that knows the name but not the clock
        return time.monotonic, ()
    return time.clock_gettime, (time.CLOCK_BOOTTIME,)


read_clock, WHICH = _best_clock()
"""``read_clock(*WHICH)`` is `now()` at its cheapest, for `Elector.is_leader`: one call of a
C function with its arguments already packed."""

now = partial(read_clock, *WHICH)
"""Seconds on the library's clock."""


class Flag:
    """What a thread waits for and any other thread, or a signal handler, may set.

    `threading.Event` holds an inner lock while it is set and around each wait, so a signal
    handler that sets it may wait for the thread that it has interrupted. Here the flag is a
    single lock, free while the flag is set, and each step is one operation on it.
    """

    __slots__ = ("_gate", "_set")

    def __init__(self) -> None:
        self._set = False
        self._gate = threading.Lock()  # free while set; each waiter takes it and returns it
        self._gate.acquire()

    def is_set(self) -> bool:
        """Whether the flag was set, and not cleared since."""
        return self._set

    def set(self) -> None:
        """Wake every waiter, present and future."""
        self._set = True
        self._open()

    def clear(self) -> None:
        """Make later waits block again. For flags with a single waiter."""
        self._set = False
        self._gate.acquire(blocking=False)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the flag is set, at most ``seconds``; whether it is set."""
        if self._set:
            return True
        longest = threading.TIMEOUT_MAX if seconds is None else max(0.0, seconds)
        if self._gate.acquire(timeout=min(longest, threading.TIMEOUT_MAX)):
            self._open()
        return self._set

    def _open(self) -> None:
        with suppress(RuntimeError):  # already open
            self._gate.release()


def is_held_here(lock: threading.RLock) -> bool:
    """Whether the calling thread holds ``lock``.

    For a function that is never called with the lock held: it is called by a signal handler,
    then, which has interrupted the holder.
    """
    try:
        threading.Condition(lock).notify(0)
    except RuntimeError:
        return False
    return True


class LoopFlag(Protocol):
    """What `Flag` is to threads, for the tasks of an event loop. Needs no asyncio to be named."""

    def is_set(self) -> bool:
        """Whether the flag was set, and not cleared since."""

    def set(self) -> None:
        """Wake the tasks that wait. Any thread may call it."""

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the flag is set, at most ``seconds``; whether it is set."""


class Clock:
    """The time, and waiting while it passes, as one object that tests can replace."""

    now = staticmethod(now)
    """Seconds that never step back."""

    def wait(self, flag: Flag, seconds: float | None) -> None:
        """Wait for ``flag``, at most ``seconds``; None: without a limit."""
        flag.wait(seconds)

    async def wait_async(self, flag: LoopFlag, seconds: float | None) -> None:
        """The same on an event loop."""
        await flag.wait(seconds)


CLOCK = Clock()
"""The real clock."""

"""``async for change in elector.changes()``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from ._runtime import access
from ._state.async_leadership import AsyncFlag
from ._state.model import LeaderChange
from .elector import Elector

__all__ = ["LeaderChanges"]

KEPT = 16
"""Leaders to keep for a slow reader, the newest ones."""


class LeaderChanges:
    """An asynchronous iterator over the leaders of one elector; see `AsyncElector.changes`.

    It is registered from the first step to its end: to a stop of the elector, a cancellation,
    `aclose`, or the moment when nothing refers to it any more, as after ``break``. Not an
    asynchronous generator, which would need its loop once more for that.
    """

    def __init__(self, elector: Elector) -> None:
        self._elector = elector
        self._flag: AsyncFlag | None = None
        self._is_over: Callable[[], bool] = lambda: False
        self._leaders: deque[str] = deque(maxlen=KEPT)  # each operation is atomic
        self._last: str | None = None
        self._registered = ExitStack()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LeaderChange:
        flag = self._flag or self._register()
        try:
            while True:
                flag.clear()
                over = self._is_over()  # before: what came until then is not lost
                if change := self._next():
                    return change
                if over:
                    raise StopAsyncIteration
                await flag.wait()
        except BaseException:
            self._unregister()
            raise

    async def aclose(self) -> None:
        """End the iteration."""
        self._unregister()

    def __del__(self) -> None:
        self._unregister()

    def _next(self) -> LeaderChange | None:
        """Each ``previous`` is the newest leader of before, also if the deque has dropped some."""
        while self._leaders:
            previous, self._last = self._last, self._leaders.popleft()
            if self._last != previous:
                return LeaderChange(previous, self._last)
        return None

    def _register(self) -> AsyncFlag:
        leaders, flag = self._leaders, AsyncFlag()

        def note(change: LeaderChange) -> None:  # holds no reference to this object
            leaders.append(change.current)
            flag.set()

        self._flag = flag
        self._is_over = self._registered.enter_context(access.until_stopped(self._elector, flag))
        self._registered.callback(self._elector.remove, note)
        self._elector.on_leader_change(note)
        return flag

    def _unregister(self) -> None:
        self._registered.close()
        self._is_over = lambda: True

"""``async def`` as a ``while_leader`` function. Imported where the first one is registered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from math import isfinite
from typing import Any

from .._state.async_leadership import AsyncLeadership
from .._state.leadership import Leadership
from ..errors import ElectorError
from .callbacks import adapt_async, name_of

__all__ = ["await_quietly", "in_own_loop", "is_running", "make_task", "serve"]

Outcome = BaseException | None
Loop = asyncio.AbstractEventLoop


def in_own_loop(fn: Callable[..., object]) -> Callable[[Leadership], None]:
    """``fn`` for a thread that runs it in an event loop of its own.

    Raises TypeError if ``fn`` can be called neither with one argument nor with none.
    """
    call = adapt_async(fn, "while_leader")
    name = name_of(fn)

    def run(leadership: Leadership) -> None:
        if is_running():  # with a FakeElector, which has no thread of its own for this
            raise ElectorError(
                f"{name} is async, but was called on a running event loop's thread; "
                f"use another one: await asyncio.to_thread(…)"
            )
        error = asyncio.run(serve(call, leadership, name))
        if error is not None:
            raise error

    return run


async def serve(call: Callable[[Any], Awaitable[object]], token: Leadership, name: str) -> Outcome:
    """Run ``call`` as a task, which is cancelled and awaited when the leadership ends.

    Returns what it raised. One that cancels itself during the leadership has raised as well.
    """
    coroutine = await_quietly(call, AsyncLeadership(token))
    task = make_task(coroutine, name)
    end = _End(task, token)
    with token._waking(end):
        end.check()
        try:
            await asyncio.wait({task})
        finally:
            end.forget()
            if end.loop.is_closed():  # and this coroutine is being closed
                coroutine.close()
            else:
                task.cancel()  # it has ended, unless ours was cancelled: the loop is ending
    if not task.cancelled():
        return task.result()
    return None if token.ended else asyncio.CancelledError()


class _End:
    """Cancels a task when the leadership ends, also if no thread of the library notices."""

    def __init__(self, task: asyncio.Task[Outcome], token: Leadership) -> None:
        self._task = task
        self._token = token
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def set(self) -> None:
        """The leadership is over. Called from any thread; see `Waker`."""
        with suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(self.check)

    def check(self) -> None:
        """Cancel the task if the leadership is over, else look again when it would expire."""
        if self._over:  # cancelled once: a second time would disturb how it cleans up
            return
        self.forget()
        left = self._token._left()
        if left <= 0:
            self._over = True
            self._task.cancel()
        elif isfinite(left):
            self._timer = self.loop.call_later(left, self.check)

    def forget(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()


async def await_quietly(call: Callable[[Any], Awaitable[object]], argument: object) -> Outcome:
    """Return what ``call`` raises: a raised SystemExit would end the user's loop."""
    try:
        await call(argument)
    except GeneratorExit:  # the loop was closed
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return error
    return None


def make_task(coroutine: Coroutine[Any, Any, Outcome], name: str) -> asyncio.Task[Outcome]:
    """A task on the running loop. If that is closed too early, the task is dropped in silence."""
    task = asyncio.get_running_loop().create_task(coroutine, name=f"elector-task-{name}")
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio.gather does
    return task


def is_running() -> bool:
    """Whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

"""Between an elector's threads and an event loop: callbacks onto the loop, waits off it.

Nothing here blocks a loop, and nothing uses its default executor.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from .._dispatch.callbacks import adapt, name_of
from ..errors import ElectorError

__all__ = ["Home", "OnLoop", "Wait", "adapted", "in_own_thread"]

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


class Home:
    """The loop that async callbacks run on, unless they have their own, and the one under way.

    `loop` is written on the loop that starts the elector, and read by the dispatch
    thread. `running` (the dispatch thread's handle) is written by the dispatch thread,
    `task` on the loop; whoever stops the elector reads both.
    """

    def __init__(self) -> None:
        self.loop: Loop | None = None
        self.running: Future[Any] | None = None
        self.task: asyncio.Task[Any] | None = None

    def settle(self) -> None:
        """Live on the running loop."""
        self.loop = asyncio.get_running_loop()

    def settle_if_homeless(self) -> None:
        """Live on the running loop, unless there is one already."""
        if self.loop is None or self.loop.is_closed():
            self.settle()


def adapted(callback: Callable[..., object], what: str, home: Home) -> Callable[..., object]:
    """``callback`` as an `Elector` takes it: itself, or an ``async def`` made to run on a loop.

    Raises TypeError for what cannot be called with one argument or with none.
    """
    if not _is_async(callback):
        return callback
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # registered while a module is imported: at home, then
        loop = None
    return OnLoop(home, callback, loop, adapt(_Plain(callback), what))


def _is_async(callback: object) -> bool:
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004 - looks at it, does not test it
    )


class _Plain:
    """An async callback as a plain function, so that `adapt` looks at its parameters alone."""

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self.__signature__ = inspect.signature(callback)
        self.__qualname__ = name_of(callback)

    def __call__(self, *arguments: Any) -> Any:
        return self._callback(*arguments)


class OnLoop:
    """An async callback as the dispatch thread calls it: runs on the loop, and is waited for.

    So it holds the others up like any callback, which is what keeps the order. Equal
    to another of the same callback, so that it can be removed.
    """

    CHECK = 1.0
    """Seconds between two looks at whether the loop was closed with the callback still on it."""

    def __init__(
        self,
        home: Home,
        callback: Callable[..., object],
        loop: Loop | None,
        call: Callable[[Any], Any] = lambda _: None,
    ) -> None:
        self._home = home
        self._callback = callback
        self._loop = loop
        self._call = call
        self.__qualname__ = name_of(callback)

    def __call__(self, argument: object) -> None:
        loop = self._loop or self._home.loop
        if loop is None or loop.is_closed():
            raise ElectorError(f"{self.__qualname__} is async, and no event loop runs for it")
        if _runs_here(loop):  # a fake elector in a test, say: it would wait for itself
            raise ElectorError(
                f"{self.__qualname__} is async, and was called on its own event loop's thread; "
                f"there, use await asyncio.to_thread(…)"
            )
        coroutine = self._contained(argument)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # closed since
            coroutine.close()
            raise
        self._home.running = future
        try:
            error = self._result(future, loop, coroutine)
        finally:
            self._home.running = None
        if error is not None:
            raise error

    async def _contained(self, argument: object) -> BaseException | None:
        """What it raised, handed over: SystemExit would end the loop, which is not ours."""
        self._home.task = asyncio.current_task()
        try:
            await self._call(argument)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return error
        finally:
            self._home.task = None
        return None

    def _result(
        self, future: Any, loop: Loop, coroutine: Coroutine[Any, Any, Any]
    ) -> BaseException | None:
        while True:
            try:
                error: BaseException | None = future.result(self.CHECK)
            except TimeoutError:  # ours: the callback's own comes as a result
                if loop.is_closed():
                    coroutine.close()
                    raise ElectorError(
                        "the event loop was closed with the callback on it"
                    ) from None
            else:
                return error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnLoop) and other._callback == self._callback

    def __hash__(self) -> int:
        return hash(self._callback)


class Wait:
    """Tasks that wait for the same thing, all woken by one thread of ours.

    So a thousand of them cost one thread, and none of the loop's executor. The thread
    ends when the thing has come true or the elector is stopped. A set of futures is
    touched by its own loop alone; the dict is shared, each operation on it is one.
    """

    def __init__(self, reached: Callable[[], bool], block: Callable[[], bool]) -> None:
        self._reached = reached
        self._block = block
        self._waiting: dict[Loop, set[asyncio.Future[bool]]] = {}

    async def __call__(self, timeout: float | None) -> bool:
        if self._reached():
            return True
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        futures = self._join(loop, future)
        try:
            async with asyncio.timeout(timeout):
                return bool(await future)
        except TimeoutError:
            return self._reached()
        finally:
            futures.discard(future)

    def _join(self, loop: Loop, future: asyncio.Future[bool]) -> set[asyncio.Future[bool]]:
        futures = self._waiting.get(loop)
        if futures is None:
            futures = self._waiting[loop] = set()
            Thread(target=self._watch, args=(loop,), name="elector-wait", daemon=True).start()
        futures.add(future)
        return futures

    def _watch(self, loop: Loop) -> None:
        outcome: bool | BaseException
        try:
            outcome = self._block()
        except BaseException as error:  # it could not be started, say: whoever waits is told
            outcome = error
        _call_on(loop, lambda: self._wake(loop, outcome))
        if loop.is_closed():
            self._waiting.pop(loop, None)

    def _wake(self, loop: Loop, outcome: bool | BaseException) -> None:
        for future in self._waiting.pop(loop, ()):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _runs_here(loop: Loop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def in_own_thread(fn: Callable[[], T]) -> T:
    """The result of ``fn``, run in a thread of its own: the default executor may be full."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # cancelled meanwhile
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # without an error there is one

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = fn()
        except BaseException as error:
            failure = error
        _call_on(loop, lambda: settle(result, failure))

    Thread(target=run, name="elector-async", daemon=True).start()
    return await future


def _call_on(loop: Loop, fn: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(fn)

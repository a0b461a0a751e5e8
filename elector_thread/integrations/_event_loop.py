"""Between an elector's threads and an event loop: async callbacks, and waits for its tasks.

Nothing here blocks an event loop or uses its default executor.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from .._dispatch.callbacks import adapt, is_async, name_of
from ..errors import ElectorError

__all__ = ["AsyncCallback", "LoopBinding", "SharedWait", "run_in_thread", "wrap_callback"]

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


class LoopBinding:
    """The event loop of an `AsyncElector`, and the async callback that runs now.

    loop: runs the callbacks that were registered while no event loop was running. Written
        on the loop that starts the elector, read by the dispatch thread.
    future, task: the running callback, for the dispatch thread and on the loop. Each writes
        its own; a stop reads both.
    """

    def __init__(self) -> None:
        self.loop: Loop | None = None
        self.future: Future[Any] | None = None
        self.task: asyncio.Task[Any] | None = None

    def bind(self) -> None:
        """Use the running loop."""
        self.loop = asyncio.get_running_loop()

    def bind_if_unbound(self) -> None:
        """Use the running loop, unless there is an open one already."""
        if self.loop is None or self.loop.is_closed():
            self.bind()


def wrap_callback(
    callback: Callable[..., object], what: str, binding: LoopBinding
) -> Callable[..., object]:
    """``callback`` itself, or an ``async def`` as a function that an `Elector` can call.

    Raises TypeError if an ``async def`` can be called neither with one argument nor with none.
    """
    if not is_async(callback):
        return callback
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # registered while a module is imported
        loop = None
    return AsyncCallback(binding, callback, loop, adapt(_as_sync(callback), what))


def _as_sync(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The same function for `adapt`, which refuses what it recognizes as async."""

    def call(*arguments: Any) -> Any:
        return callback(*arguments)

    call.__signature__ = inspect.signature(callback)  # type: ignore[attr-defined]  # for `inspect`
    call.__qualname__ = name_of(callback)
    return call


class AsyncCallback:
    """An async callback as the dispatch thread calls it: runs on its loop, and is waited for.

    The wait keeps the order of callbacks. Equal to another one of the same function, so that
    it can be removed.
    """

    CHECK = 1.0
    """Seconds between two checks whether the loop was closed before the callback ended."""

    def __init__(
        self,
        binding: LoopBinding,
        callback: Callable[..., object],
        loop: Loop | None,
        call: Callable[[Any], Any] = lambda _: None,
    ) -> None:
        self._binding = binding
        self._callback = callback
        self._loop = loop
        self._call = call
        self.__qualname__ = name_of(callback)

    def __call__(self, argument: object) -> None:
        loop = self._loop or self._binding.loop
        if loop is None or loop.is_closed():
            raise ElectorError(f"{self.__qualname__} is async, but no event loop is running for it")
        if _is_running_here(loop):  # for example a FakeElector in a test: a deadlock
            raise ElectorError(
                f"{self.__qualname__} is async, but was called on its own event loop's thread, "
                f"which would wait for itself; use another one: await asyncio.to_thread(…)"
            )
        coroutine = self._catch(argument)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # the loop was closed meanwhile
            coroutine.close()
            raise
        self._binding.future = future
        try:
            error = self._result(future, loop, coroutine)
        finally:
            self._binding.future = None
        if error is not None:
            raise error

    async def _catch(self, argument: object) -> BaseException | None:
        """Return what the callback raises: a raised SystemExit would end the user's loop."""
        self._binding.task = asyncio.current_task()
        try:
            await self._call(argument)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return error
        finally:
            self._binding.task = None
        return None

    def _result(
        self,
        future: Future[BaseException | None],
        loop: Loop,
        coroutine: Coroutine[Any, Any, Any],
    ) -> BaseException | None:
        while True:
            try:
                return future.result(self.CHECK)
            except TimeoutError:  # ours: one that the callback raises is returned
                if loop.is_closed():
                    coroutine.close()
                    raise ElectorError(
                        "the event loop was closed before the callback ended"
                    ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncCallback) and other._callback == self._callback

    def __hash__(self) -> int:
        return hash(self._callback)


class SharedWait:
    """Lets any number of tasks wait for one condition, with one thread for each event loop.

    reached: whether the condition is true now. block: waits for it, or for a stop of the
    elector, and returns whether it is true; runs in the thread.

    A set of futures is only used on its own loop; each operation on the dict is atomic.
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
        except BaseException as error:  # for example, the elector could not start
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


def _is_running_here(loop: Loop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def run_in_thread(fn: Callable[[], T]) -> T:
    """Run ``fn`` in a new thread and return its result; the default executor may be full."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, error: BaseException | None) -> None:
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
        _call_on(loop, lambda: resolve(result, failure))

    Thread(target=run, name="elector-async", daemon=True).start()
    return await future


def _call_on(loop: Loop, fn: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop was closed
        loop.call_soon_threadsafe(fn)

"""Between an elector's threads and an event loop: async callbacks and tasks, and waits.

Nothing here blocks an event loop or uses its default executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from ._dispatch.callbacks import LoopClosedError, adapt_async, is_async, name_of
from ._dispatch.coroutines import await_quietly, make_task, serve
from ._state.async_leadership import AsyncLeadership
from ._state.clock import Flag, now
from ._state.leadership import Leadership
from .errors import ElectorError

__all__ = [
    "AsyncCallback",
    "LoopBinding",
    "SharedWait",
    "binding_of",
    "run_in_thread",
    "wrap_callback",
    "wrap_task",
]

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop
Outcome = BaseException | None


class LoopBinding:
    """The event loop of an elector, and its async callback that runs now; see `binding_of`.

    loop: runs the functions that were registered while no event loop was running. Written
        on the loop that starts the elector, read by the threads that call them.
    closed: the closed loops that were reported.
    call, task: the running callback, for the dispatch thread and on the loop. Each writes
        its own; a stop reads both.
    """

    def __init__(self) -> None:
        self.loop: Loop | None = None
        self.closed: WeakSet[Loop] = WeakSet()
        self.call: LoopCall | None = None
        self.task: asyncio.Task[Any] | None = None

    def bind(self) -> None:
        """Use the running loop."""
        self.loop = asyncio.get_running_loop()

    def bind_if_unbound(self) -> None:
        """Use the running loop, unless there is an open one already."""
        if self.loop is None or self.loop.is_closed():
            self.bind()

    def report_closed(self, loop: Loop, name: str) -> None:
        """Drop a call whose loop is closed. Raises `LoopClosedError`, once for each loop."""
        if loop not in self.closed:
            self.closed.add(loop)
            raise LoopClosedError(f"the event loop of {name} is closed")


_bindings: WeakKeyDictionary[object, LoopBinding] = WeakKeyDictionary()


def binding_of(elector: object) -> LoopBinding:
    """The one of an elector, common to every `AsyncElector` that uses it.

    One module may register on it and another one start or stop it.
    """
    return _bindings.setdefault(elector, LoopBinding())


def wrap_callback(
    callback: Callable[..., object], what: str, binding: LoopBinding
) -> Callable[..., object]:
    """``callback`` itself, or an ``async def`` as a function that an `Elector` can call.

    Raises TypeError if an ``async def`` can be called neither with one argument nor with none.
    """
    return AsyncCallback(binding, callback, what) if is_async(callback) else callback


def wrap_task(fn: Callable[..., object], binding: LoopBinding) -> Callable[..., object]:
    """The same for a ``while_leader`` function."""
    return AsyncTask(binding, fn, "while_leader") if is_async(fn) else fn


class AsyncCallback:
    """An async callback as the dispatch thread calls it: runs on its loop, and is waited for.

    The wait keeps the order of callbacks. Equal to the function itself and to another one of
    it, so that it can be found and removed.

    Its loop is the one that was running when it was registered, or else the binding's.
    """

    def __init__(self, binding: LoopBinding, callback: Callable[..., object], what: str) -> None:
        self._binding = binding
        self._callback = callback
        self._loop = _running_loop()
        self._call = adapt_async(callback, what)
        self.__qualname__ = name_of(callback)

    def __call__(self, argument: object) -> None:
        loop, name = self._loop or self._binding.loop, self.__qualname__
        if loop is None:
            raise ElectorError(f"{name} is async, but no event loop is running for it")
        if loop is _running_loop():  # for example a FakeElector in a test: a deadlock
            raise ElectorError(
                f"{name} is async, but was called on its own event loop's thread, "
                f"which would wait for itself; use another one: await asyncio.to_thread(…)"
            )
        call = LoopCall(loop, lambda: self._run(argument), name)
        try:
            error = self._wait(call)
        except LoopClosedError:
            self._binding.report_closed(loop, name)
            return
        if error is not None:
            raise error

    def _wait(self, call: LoopCall) -> Outcome:
        self._binding.call = call
        try:
            return call.wait()
        finally:
            self._binding.call = None

    async def _run(self, argument: object) -> Outcome:
        self._binding.task = asyncio.current_task()
        token = AsyncLeadership(argument) if isinstance(argument, Leadership) else argument
        try:
            return await await_quietly(self._call, token)
        finally:
            self._binding.task = None

    def __eq__(self, other: object) -> bool:
        callback = other._callback if isinstance(other, AsyncCallback) else other
        return self._callback == callback

    def __hash__(self) -> int:
        return hash(self._callback)


class AsyncTask(AsyncCallback):
    """An async ``while_leader`` function as the task's thread calls it."""

    def _wait(self, call: LoopCall) -> Outcome:
        return call.wait()

    async def _run(self, argument: Any) -> Outcome:
        return await serve(self._call, argument, self.__qualname__)


class LoopCall:
    """One run of a coroutine on an event loop, for a thread that waits for its result."""

    CHECK = 0.5
    """Seconds between two checks whether the loop was closed before the coroutine ended."""

    def __init__(
        self, loop: Loop, make: Callable[[], Coroutine[Any, Any, Outcome]], name: str
    ) -> None:
        self._loop = loop
        self._make = make
        self._name = name
        self._ended = Flag()
        self._given_up = False  # a stop would wait no longer
        # only touched on the loop while that is open, and by the waiting thread afterwards
        self._coroutine: Coroutine[Any, Any, Outcome] | None = None
        self._task: asyncio.Task[Outcome] | None = None

    def wait(self) -> Outcome:
        """Run it, and return what it returns.

        Raises `LoopClosedError` if the loop is or gets closed, or cancels it in order to end.
        """
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            raise LoopClosedError from None
        while not self._ended.wait(self.CHECK):
            if self._loop.is_closed() and not self._ended.is_set():
                self._drop()
                raise LoopClosedError
        assert self._task is not None, "it has ended"
        if not self._task.cancelled():
            return self._task.result()
        if self._given_up:
            return asyncio.CancelledError()
        raise LoopClosedError

    def cancel(self) -> None:
        """Cancel it. Any thread may call this."""
        self._given_up = True
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._coroutine = self._make()
        self._task = make_task(self._coroutine, self._name)
        self._task.add_done_callback(lambda _: self._ended.set())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _drop(self) -> None:
        """End a coroutine that its closed loop will never resume: else Python complains of it."""
        if self._coroutine is not None:
            with suppress(Exception):  # of the user's code
                self._coroutine.close()


class SharedWait:
    """Lets any number of tasks wait for one condition, with one thread for each event loop.

    reached: whether the condition is true now. block: waits for it, for a stop of the elector,
        or for so many seconds, and returns whether it is true; runs in the thread.

    A set of futures is only used on its own loop; each operation on the dict is atomic.
    """

    CHECK = 1.0
    """Seconds between two checks whether the loop was closed, so that the thread can end."""

    def __init__(self, reached: Callable[[], bool], block: Callable[[float], bool]) -> None:
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
            outcome = self._block_until_closed(loop)
        except BaseException as error:  # for example, the elector could not start
            outcome = error
        _call_on(loop, lambda: self._wake(loop, outcome))
        if loop.is_closed():
            self._waiting.pop(loop, None)

    def _block_until_closed(self, loop: Loop) -> bool:
        """Wait as long as ``loop`` is open. A wait that ends early has not timed out."""
        while not loop.is_closed():
            began = now()
            if self._block(self.CHECK):
                return True
            if now() - began < self.CHECK:  # the elector was stopped
                break
        return False

    def _wake(self, loop: Loop, outcome: bool | BaseException) -> None:
        for future in self._waiting.pop(loop, ()):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _running_loop() -> Loop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # for example while a module is imported
        return None


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

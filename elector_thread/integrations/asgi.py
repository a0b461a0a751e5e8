"""ASGI (FastAPI, Starlette and others): a lifespan, waits and callbacks on the event loop.

Nothing starts when the module is imported: only the process that runs the lifespan,
the serving one, connects. Needs no framework; the extras ``asgi`` and ``fastapi`` merely
name what it is for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from ..callbacks import adapt, name_of
from ..default import configure
from ..elector import Elector
from ..errors import ElectorError
from ..guard import Guard
from ..model import State, Status

__all__ = ["AsyncElector"]

T = TypeVar("T")
Callback = TypeVar("Callback", bound=Callable[..., object])
Loop = asyncio.AbstractEventLoop

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]


class AsyncElector:
    """An `Elector` for code on an event loop.

    elector: the one to use. Default: the process-wide one, configured with
        ``settings``, the arguments of `Elector`; so `elector_thread.only_on_leader`
        asks the same.

    Reading is the same as on `Elector`: it never blocks. Callbacks may be functions,
    which run on the library's thread, or ``async def``, which run on the loop that was
    running when they were registered, or else on the one that runs the lifespan. All
    of them keep one order, and the promises of `Elector`: they never overlap, and
    elected and demoted alternate.

    Example::

        elector = AsyncElector()

        @elector.on_elected
        async def begin(leadership):
            ...

        app = FastAPI(lifespan=elector.lifespan)
    """

    def __init__(self, elector: Elector | None = None, **settings: Any) -> None:
        if elector is not None and settings:
            raise TypeError("expected either an elector or settings for one, got both")
        self.elector = configure(**settings) if elector is None else elector
        # written on the loop that starts us; read by the dispatch thread
        self._loop: Loop | None = None
        # the async callback under way, for `stop`: the dispatch thread's handle of it, and its task
        self._running: Future[Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._until_leader = _Wait(
            lambda: self.elector.is_leader, lambda: self.elector.wait_until_leader()
        )
        self._until_known = _Wait(
            lambda: self.elector.state is not State.UNKNOWN,
            lambda: self.elector.wait_until_known(),
        )

    # --- life --------------------------------------------------------------------

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[dict[str, Any]]:
        """A lifespan for Starlette and FastAPI, which takes the app; also to be used in another.

        Starts on entry, and steps down on exit: every ``on_demoted`` callback has ended
        before the shutdown goes on. Yields ``{"elector": self}``, the lifespan's state.
        """
        async with self:
            yield {"elector": self}

    def wrap(self, app: AsgiApp) -> AsgiApp:
        """``app`` with the elector's life around its own, for ASGI apps without such a hook.

        The app's own lifespan, if it has one, runs inside.
        """
        return _WithLife(app, self)

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def start(self) -> Self:
        """As `Elector.start`. To be called on the loop that async callbacks shall run on."""
        self._loop = asyncio.get_running_loop()
        self.elector.start()
        return self

    def _adopt_loop(self) -> None:
        """A wait may start the elector: async callbacks need a loop then, too."""
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()

    async def stop(self, timeout: float | None = 5.0) -> bool:
        """As `Elector.stop`, with the loop free to run async callbacks meanwhile.

        One that outlives the timeout is cancelled. Called from an async callback it
        waits for nothing, and returns False.
        """
        if asyncio.current_task() is self._task:
            return await _in_own_thread(lambda: self.elector.stop(0))
        ended = await _in_own_thread(lambda: self.elector.stop(timeout))
        running = self._running
        if not ended and running is not None:
            running.cancel()
        return ended

    # --- reading -----------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this process leads right now."""
        return self.elector.is_leader

    @property
    def state(self) -> State:
        """LEADER, FOLLOWER or UNKNOWN, right now."""
        return self.elector.state

    @property
    def leader(self) -> str | None:
        """The leader's name, None while it is not known."""
        return self.elector.leader

    @property
    def identity(self) -> str:
        """The name that means "us"."""
        return self.elector.identity

    def status(self) -> Status:
        """One consistent look at everything."""
        return self.elector.status()

    @property
    def only_on_leader(self) -> Guard:
        """The guard, bound to this elector."""
        return self.elector.only_on_leader

    # --- waiting, without blocking the loop ------------------------------------------

    async def refresh(self) -> Status:
        """As `Elector.refresh`."""
        return await _in_own_thread(self.elector.refresh)

    async def wait_until_leader(self, timeout: float | None = None) -> bool:
        """As `Elector.wait_until_leader`; any number of tasks may wait at once."""
        self._adopt_loop()
        return await self._until_leader(timeout)

    async def wait_until_known(self, timeout: float | None = None) -> bool:
        """As `Elector.wait_until_known`; any number of tasks may wait at once."""
        self._adopt_loop()
        return await self._until_known(timeout)

    # --- being told ------------------------------------------------------------------

    def on_elected(self, callback: Callback) -> Callback:
        """As `Elector.on_elected`; ``async def`` as well."""
        self.elector.on_elected(self._adapted(callback, "on_elected"))
        return callback

    def on_demoted(self, callback: Callback) -> Callback:
        """As `Elector.on_demoted`; ``async def`` as well."""
        self.elector.on_demoted(self._adapted(callback, "on_demoted"))
        return callback

    def on_leader_change(self, callback: Callback) -> Callback:
        """As `Elector.on_leader_change`; ``async def`` as well."""
        self.elector.on_leader_change(self._adapted(callback, "on_leader_change"))
        return callback

    def remove(self, callback: Callable[..., object]) -> bool:
        """Take a callback out; False if it was not registered."""
        plain = self.elector.remove(callback)
        return self.elector.remove(_OnLoop(self, callback, None)) or plain

    def _adapted(self, callback: Callable[..., object], what: str) -> Callable[..., object]:
        if not _is_async(callback):
            return callback
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # registered while the module is imported
            loop = None
        # whether it takes the argument is told by a plain function of the same parameters
        call = adapt(_Plain(callback), what)
        return _OnLoop(self, callback, loop, call)


def _is_async(callback: object) -> bool:
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004 - looks at it, does not test it
    )


class _Plain:
    """An async callback as a function that returns its coroutine, with its own signature."""

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self.__signature__ = inspect.signature(callback)
        self.__qualname__ = name_of(callback)

    def __call__(self, *arguments: Any) -> Any:
        return self._callback(*arguments)


class _OnLoop:
    """An async callback as the dispatch thread calls it: runs on the loop, and is waited for.

    So it holds the others up like any callback, which is what keeps the order. Equal
    to another of the same callback, so that it can be removed.
    """

    CHECK = 1.0
    """Seconds between two looks at whether the loop was closed with the callback still on it."""

    def __init__(
        self,
        owner: AsyncElector,
        callback: Callable[..., object],
        loop: Loop | None,
        call: Callable[[Any], Any] = lambda _: None,
    ) -> None:
        self._owner = owner
        self._callback = callback
        self._loop = loop
        self._call = call
        self.__qualname__ = name_of(callback)

    def __call__(self, argument: object) -> None:
        loop = self._loop or self._owner._loop
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
        self._owner._running = future
        try:
            error = self._result(future, loop, coroutine)
        finally:
            self._owner._running = None
        if error is not None:
            raise error

    async def _contained(self, argument: object) -> BaseException | None:
        """What it raised, handed over: SystemExit would end the loop, which is not ours."""
        self._owner._task = asyncio.current_task()
        try:
            await self._call(argument)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return error
        finally:
            self._owner._task = None
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
        return isinstance(other, _OnLoop) and other._callback == self._callback

    def __hash__(self) -> int:
        return hash(self._callback)


class _Wait:
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


class _WithLife:
    """An ASGI app whose lifespan, its own or ours in its place, is also the elector's life."""

    def __init__(self, app: AsgiApp, elector: AsyncElector) -> None:
        self._app = app
        self._elector = elector

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await self._live(scope, receive, send)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        received = answered = False  # answered: the app has a lifespan of its own

        async def starting() -> Message:
            nonlocal received
            message = await receive()
            if not received:
                received = True
                self._elector.start()
            return message

        async def stopping(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] != "lifespan.startup.complete":  # shut down, or failed to start
                await self._elector.stop()
            await send(message)

        try:
            await self._app(scope, starting, stopping)
        except Exception:
            if answered:
                await self._elector.stop()
                raise
        if not answered:  # it knows no lifespan (Django, say), as exceptions before that mean
            if not received:
                await starting()
            await self._live_alone(receive, send)

    async def _live_alone(self, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._elector.stop()
        await send({"type": "lifespan.shutdown.complete"})


def _runs_here(loop: Loop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def _in_own_thread(fn: Callable[[], T]) -> T:
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

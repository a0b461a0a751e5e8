"""ASGI (FastAPI, Starlette and others): a lifespan, waits and callbacks on the event loop.

Nothing starts when the module is imported: only the process that runs the lifespan,
the serving one, connects. Needs no framework; the extras ``asgi`` and ``fastapi`` merely
name what it is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from .._state.model import State, Status
from ..default import configure
from ..elector import Elector
from ..guard import Guard
from ._on_loop import Home, OnLoop, Wait, adapted, in_own_thread

__all__ = ["AsyncElector"]

Callback = TypeVar("Callback", bound=Callable[..., object])

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
        self._home = Home()
        self._until_leader = Wait(
            lambda: self.elector.is_leader, lambda: self.elector.wait_until_leader()
        )
        self._until_known = Wait(
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
        self._home.settle()
        self.elector.start()
        return self

    async def stop(self, timeout: float | None = 5.0) -> bool:
        """As `Elector.stop`, with the loop free to run async callbacks meanwhile.

        One that outlives the timeout is cancelled. Called from an async callback it
        waits for nothing, and returns False.
        """
        if asyncio.current_task() is self._home.task:
            return await in_own_thread(lambda: self.elector.stop(0))
        ended = await in_own_thread(lambda: self.elector.stop(timeout))
        running = self._home.running
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
        return await in_own_thread(self.elector.refresh)

    async def wait_until_leader(self, timeout: float | None = None) -> bool:
        """As `Elector.wait_until_leader`; any number of tasks may wait at once."""
        self._home.settle_if_homeless()  # the wait may start the elector
        return await self._until_leader(timeout)

    async def wait_until_known(self, timeout: float | None = None) -> bool:
        """As `Elector.wait_until_known`; any number of tasks may wait at once."""
        self._home.settle_if_homeless()  # the wait may start the elector
        return await self._until_known(timeout)

    # --- being told ------------------------------------------------------------------

    def on_elected(self, callback: Callback) -> Callback:
        """As `Elector.on_elected`; ``async def`` as well."""
        self.elector.on_elected(adapted(callback, "on_elected", self._home))
        return callback

    def on_demoted(self, callback: Callback) -> Callback:
        """As `Elector.on_demoted`; ``async def`` as well."""
        self.elector.on_demoted(adapted(callback, "on_demoted", self._home))
        return callback

    def on_leader_change(self, callback: Callback) -> Callback:
        """As `Elector.on_leader_change`; ``async def`` as well."""
        self.elector.on_leader_change(adapted(callback, "on_leader_change", self._home))
        return callback

    def remove(self, callback: Callable[..., object]) -> bool:
        """Take a callback out; False if it was not registered."""
        plain = self.elector.remove(callback)
        return self.elector.remove(OnLoop(self._home, callback, None)) or plain


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

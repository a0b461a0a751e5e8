"""ASGI (FastAPI, Starlette and others): a lifespan, async callbacks and waits on the event loop.

Nothing starts when the module is imported: only the process that runs the lifespan, which is
the one that serves, connects. It needs no framework; the extras ``asgi`` and ``fastapi`` only
install them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from .. import default
from .._state.model import State, Status
from ..elector import Elector
from ..guard import Guard
from ..settings import Options
from ._event_loop import AsyncCallback, LoopBinding, SharedWait, run_in_thread, wrap_callback
from ._lifespan import App, with_lifespan

__all__ = ["AsyncElector"]

Callback = TypeVar("Callback", bound=Callable[..., object])


class AsyncElector:
    """An `Elector` for code on an event loop.

    elector: the one to use. Default: the process-wide one, configured with ``settings``
        (those of `Elector`), which `elector_thread.only_on_leader` uses as well.

    Raises TypeError if both an elector and settings are given.

    Reading is the same as on `Elector` and never blocks. Callbacks may be functions, which
    run on the library's thread, or ``async def``, which run on the loop that was running when
    they were registered, or else on the one that runs the lifespan. The promises of
    `Elector` hold for all of them together: they run in order and never overlap.

    Example::

        elector = AsyncElector()

        @elector.on_elected
        async def begin(leadership):
            ...

        app = FastAPI(lifespan=elector.lifespan)
    """

    def __init__(self, elector: Elector | None = None, **settings: Unpack[Options]) -> None:
        if elector is not None and settings:
            raise TypeError("expected either an elector or settings for one, got both")
        self.elector = _process_wide(settings) if elector is None else elector
        self._binding = LoopBinding()
        self._until_leader = SharedWait(
            lambda: self.elector.is_leader, lambda: self.elector.wait_until_leader()
        )
        self._until_known = SharedWait(
            lambda: self.elector.state is not State.UNKNOWN,
            lambda: self.elector.wait_until_known(),
        )

    # --- starting and stopping -------------------------------------------------------

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[dict[str, Any]]:
        """The lifespan of a Starlette or FastAPI app, or a part of one.

        Starts on entry and steps down on exit: the shutdown continues when every
        ``on_demoted`` callback has ended. Yields ``{"elector": self}``, the lifespan's state.
        """
        async with self:
            yield {"elector": self}

    def wrap(self, app: App) -> App:
        """``app`` with the elector started before its startup, and stopped after its shutdown.

        For ASGI apps that take no lifespan function. One that the app has runs inside.
        """
        return with_lifespan(app, self.start, self.stop)

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
        """See `Elector.start`. Call it on the event loop that is to run async callbacks."""
        self._binding.bind()
        self.elector.start()
        return self

    async def stop(self, timeout: float | None = 5.0) -> bool:
        """See `Elector.stop`. The loop stays free to run async callbacks.

        A callback that is still running after ``timeout`` seconds is cancelled. If an async
        callback calls this, it waits for nothing and returns False.
        """
        if asyncio.current_task() is self._binding.task:
            return await run_in_thread(lambda: self.elector.stop(0))
        ended = await run_in_thread(lambda: self.elector.stop(timeout))
        running = self._binding.future
        if not ended and running is not None:
            running.cancel()
        return ended

    # --- reading ---------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this process is the leader right now."""
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
        """The name that means this pod."""
        return self.elector.identity

    def status(self) -> Status:
        """One consistent view of everything."""
        return self.elector.status()

    @property
    def only_on_leader(self) -> Guard:
        """The guard, bound to this elector."""
        return self.elector.only_on_leader

    # --- waiting, without blocking the loop ------------------------------------------

    async def refresh(self) -> Status:
        """See `Elector.refresh`."""
        return await run_in_thread(self.elector.refresh)

    async def wait_until_leader(self, timeout: float | None = None) -> bool:
        """See `Elector.wait_until_leader`. Any number of tasks may wait at once."""
        self._binding.bind_if_unbound()  # the wait may start the elector
        return await self._until_leader(timeout)

    async def wait_until_known(self, timeout: float | None = None) -> bool:
        """See `Elector.wait_until_known`. Any number of tasks may wait at once."""
        self._binding.bind_if_unbound()  # the wait may start the elector
        return await self._until_known(timeout)

    # --- callbacks -------------------------------------------------------------------

    def on_elected(self, callback: Callback) -> Callback:
        """See `Elector.on_elected`; ``async def`` is allowed as well."""
        self.elector.on_elected(wrap_callback(callback, "on_elected", self._binding))
        return callback

    def on_demoted(self, callback: Callback) -> Callback:
        """See `Elector.on_demoted`; ``async def`` is allowed as well."""
        self.elector.on_demoted(wrap_callback(callback, "on_demoted", self._binding))
        return callback

    def on_leader_change(self, callback: Callback) -> Callback:
        """See `Elector.on_leader_change`; ``async def`` is allowed as well."""
        self.elector.on_leader_change(wrap_callback(callback, "on_leader_change", self._binding))
        return callback

    def remove(self, callback: Callable[..., object]) -> bool:
        """Remove a callback; False if it was not registered."""
        plain = self.elector.remove(callback)
        return self.elector.remove(AsyncCallback(self._binding, callback, None)) or plain


def _process_wide(settings: Options) -> Elector:
    """The process-wide elector, with these settings if there are any."""
    return default.configure(**settings) if settings else default.default_elector()

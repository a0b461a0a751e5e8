"""`AsyncElector`: an elector for code on an event loop, with or without a framework.

Nothing starts when it is made: only the process that runs its lifespan, or enters it by
``async with``, connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from ._changes import LeaderChanges
from ._event_loop import (
    LoopBinding,
    SharedWait,
    binding_of,
    run_in_thread,
    wrap_callback,
    wrap_task,
)
from ._state.async_leadership import AsyncLeadership
from ._state.model import State, Status
from .default import default_elector
from .elector import Elector
from .guard import Guard
from .settings import Options

__all__ = ["AsyncElector", "AsyncLeadership"]

Callback = TypeVar("Callback", bound=Callable[..., object])


class AsyncElector:
    """An `Elector` for code on an event loop.

    elector: the one to use. settings: those of `Elector`, for one of its own. Default: the
        process-wide one, which `elector_thread.only_on_leader` asks as well. It needs no
        environment before it starts; `elector_thread.configure` sets its settings.

    Raises TypeError if both an elector and settings are given, and `ConfigurationError` for a
    bad setting.

    Reading is the same as on `Elector` and never blocks. Callbacks and ``while_leader``
    functions may be plain, and run on the library's threads, or ``async def``, and run on the
    loop that was running when they were registered, or else on the one that starts the elector. The
    promises of `Elector` hold for all of them together: callbacks run in order and never overlap.
    An ``async def`` receives an `AsyncLeadership`, a plain function a `Leadership`.

    Example::

        elector = AsyncElector()

        @elector.while_leader
        async def work(leadership):
            ...

        app = FastAPI(lifespan=elector.lifespan)
    """

    def __init__(self, elector: Elector | None = None, **settings: Unpack[Options]) -> None:
        if elector is not None and settings:
            raise TypeError("expected either an elector or settings for one, got both")
        self._own = Elector(**settings) if settings else elector
        self._until_leader = SharedWait(
            lambda: self.elector.is_leader,
            lambda timeout: self.elector.wait_until_leader(timeout),
        )
        self._until_known = SharedWait(
            lambda: self.elector.state is not State.UNKNOWN,
            lambda timeout: self.elector.wait_until_known(timeout),
        )

    @property
    def elector(self) -> Elector:
        """The elector behind this one."""
        return default_elector() if self._own is None else self._own

    @property
    def _binding(self) -> LoopBinding:
        return binding_of(self.elector)

    # --- starting and stopping -------------------------------------------------------

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[dict[str, Any]]:
        """The lifespan of a Starlette, FastAPI or Litestar app, or a part of one.

        Starts on entry and steps down on exit: the shutdown continues when every task and every
        ``on_demoted`` callback has ended, or after five seconds. Yields ``{"elector": self}``,
        the lifespan's state.
        """
        async with self:
            yield {"elector": self}

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
        """See `Elector.start`. Call it on the event loop that is to run async functions."""
        self._binding.bind()
        self.elector.start()
        return self

    async def stop(self, timeout: float | None = 5.0) -> bool:
        """See `Elector.stop`. The loop stays free to run async functions.

        ``while_leader`` tasks are cancelled at once, and awaited. A callback that is still
        running after ``timeout`` seconds is cancelled. If an async callback calls this, it waits
        for nothing and returns False; a task that calls this is cancelled.
        """
        if asyncio.current_task() is self._binding.task:
            return await run_in_thread(lambda: self.elector.stop(0))
        ended = await run_in_thread(lambda: self.elector.stop(timeout))
        running = self._binding.call
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

    def while_leader(self, fn: Callback) -> Callback:
        """See `Elector.while_leader`. An ``async def`` runs as a task on the event loop.

        The task is cancelled when the leadership ends, and the next one begins when it has ended.
        If it raises, it is called again after a growing pause.
        """
        self.elector.while_leader(wrap_task(fn, self._binding))
        return fn

    def remove(self, callback: Callable[..., object]) -> bool:
        """Remove a callback or a ``while_leader`` function; False if it was not registered."""
        return self.elector.remove(callback)

    def changes(self) -> LeaderChanges:
        """Iterate over the leaders, ours or not: ``async for change in elector.changes()``.

        Begins with the present leader, whose ``previous`` is None, and waits for one as long as
        the elector was not started; ends when it is stopped. For a slow reader changes beyond a
        few fold into one: each ``previous`` is the ``current`` of the change before.
        """
        return LeaderChanges(self.elector)

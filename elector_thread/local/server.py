"""Runs the local elector in a thread of its own; every method here may come from any thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn

from .admin import Admin
from .chronicle import Entry
from .cluster import Cluster
from .face import Face, bound
from .replica import ProcessHook
from .runtime import publish, withdraw

__all__ = ["LocalElector"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for the loop to do anything asked of it; far more than it ever needs."""


class LocalElector:
    """A local elector for as long as the ``with`` block lasts. Loopback only.

    port: the plain face's port, where the platform's variables point; 0 takes a free one.
    admin_port: the port of the page and the admin HTTP; 0 takes a free one.
    failover_delay: seconds between the end of the leader's replica and the next election.
    public: whether ``elector-thread elect`` and the like find it from another terminal.

    Raises OSError if a port is taken.

    Example::

        with LocalElector() as local:
            local.elect("pod-a")
            requests.get(local.get_url).json()["name"]
    """

    # `_loop` and `_failed` are written by the server's thread before `_ready` is set, and
    # only read after. Everything else that changes belongs to the loop.

    def __init__(
        self,
        port: int = 0,
        *,
        admin_port: int = 0,
        failover_delay: float = 0.0,
        public: bool = False,
    ) -> None:
        self._plain = Face(None, port, changed=lambda: self._cluster.chronicle.nudge())
        try:
            self._admin_socket = bound(admin_port)
        except OSError:
            self._plain.close()
            raise
        self.port: int = self._plain.port
        self.admin_port: int = self._admin_socket.getsockname()[1]
        self.token = secrets.token_urlsafe(24)
        self._public = public
        self._cluster = Cluster(
            self._plain,
            failover_delay=failover_delay,
            report_url=lambda key: f"{self.admin_url}/admin/report?key={key}",
        )
        self._admin = Admin(self._cluster, self.admin_port, self.token)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._admin.app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._ready = Event()
        self._failed: BaseException | None = None
        self._thread = Thread(target=self._serve, name="local-elector", daemon=True)

    # --- where it is -----------------------------------------------------------------

    @property
    def get_url(self) -> str:
        """What ELECTOR_GET_URL would be."""
        return self._plain.get_url

    @property
    def sse_url(self) -> str:
        """What ELECTOR_SSE_URL would be."""
        return self._plain.sse_url

    @property
    def environ(self) -> dict[str, str]:
        """The variables that the platform sets, for whoever is no replica of its own."""
        return self._plain.environ

    @property
    def admin_url(self) -> str:
        """Where the page and the admin HTTP are, without the token."""
        return f"http://localhost:{self.admin_port}"

    @property
    def ui_url(self) -> str:
        """The page, with the token that opens it. Whoever has this URL may make faults."""
        return f"{self.admin_url}/ui?token={self.token}"

    # --- life ------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve; returns once connections are accepted.

        With ``public``, raises `ElectorError` if the directory that makes it so belongs
        to others too, and OSError if it cannot be written.
        """
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed
        if self._public:
            self._publish()
        return self

    def _publish(self) -> None:
        try:
            publish(self.ui_url)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all faults, every stream and the server. Harmless if it was never started."""
        if self._public:
            withdraw()
        if self._thread.is_alive():
            self._call(self._end)
            self._thread.join()
        elif not self._ready.is_set():
            self._plain.close()
            self._admin_socket.close()

    # --- replicas and elections --------------------------------------------------------

    def add_replica(self, name: str) -> Face:
        """A replica is being started: give it the environment of the face that this returns.

        The oldest live replica leads. Raises ValueError for a name that lives already.
        """
        return self._call(lambda: self._cluster.add(name))

    def remove_replica(self, name: str) -> None:
        """A replica's process is gone. If it led, the next oldest leads. Idempotent."""
        self._run(lambda: self._cluster.remove(name))

    def set_process_hooks(
        self,
        *,
        freeze: ProcessHook | None = None,
        thaw: ProcessHook | None = None,
        kill: ProcessHook | None = None,
    ) -> None:
        """How to stop (SIGSTOP), continue and kill a replica's process, by its name.

        Called on a worker thread, never on the server's own, so they may call anything
        here. Without ``kill`` the replica is removed; without the others there is no freezing.
        """

        def assign() -> None:
            hooks = self._cluster.hooks
            hooks.freeze, hooks.thaw, hooks.kill = freeze, thaw, kill

        self._run(assign)

    def elect(self, name: str) -> None:
        """Make ``name`` the leader; returns once every open stream has it."""
        self._run(lambda: self._cluster.elect(name))

    def follow(self, follower: Callable[[Entry], object]) -> None:
        """Call ``follower(entry)`` for everything that happens from now on (see `Chronicle`).

        Called on the server's own thread: it must not block, nor call anything here.
        """
        self._run(lambda: self._cluster.chronicle.follow(follower))

    # --- faults ----------------------------------------------------------------------

    def fault(
        self, kind: str, replica: str | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Make a fault: on one replica or all (None), for some seconds or until cleared (None).

        Returns what ``state()["faults"]`` shows of it. Raises `FaultError`.
        """

        async def begin() -> dict[str, Any]:
            fault = await self._cluster.fault(kind, replica, seconds)
            return fault.as_dict(self._cluster.chronicle.now())

        return self._call(begin)

    def clear(self, kind: str | None = None, replica: str | None = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        return self._call(lambda: self._cluster.clear(kind, replica))

    def state(self) -> dict[str, Any]:
        """What ``GET /admin/state`` answers."""
        return self._run(self._cluster.state)

    # --- inside ----------------------------------------------------------------------

    def _call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have the loop do something; what it returns or raises."""
        if not self._thread.is_alive():
            raise RuntimeError("the local elector is not running; call start() first")
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(PATIENCE)

    def _run(self, do: Callable[[], T]) -> T:
        async def soon() -> T:
            return do()

        return self._call(soon)

    def _serve(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self._ready.is_set():
                raise
            self._failed = error
        finally:
            self._admin_socket.close()
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        watch = asyncio.create_task(self._cluster.watch())
        try:
            await self._plain.open()
            self._loop.call_soon(self._ready.set)
            await self._server.serve(sockets=[self._admin_socket])
        finally:
            watch.cancel()
            self._cluster.close()

    async def _end(self) -> None:
        await self._cluster.clear()
        self._admin.hang_up()
        self._server.should_exit = True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

"""`LocalElector`: runs the cluster, its sidecars and its page on an event loop in a thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn

from .admin import AdminApp
from .cluster import Cluster
from .discovery import publish, withdraw
from .history import Entry
from .http_server import bind_socket
from .replica import ProcessHook, ProcessHooks
from .sidecar_server import SidecarServer

__all__ = ["LocalElector"]

T = TypeVar("T")

CALL_TIMEOUT = 30.0
"""Seconds for the event loop to do what a caller asks for; far more than it needs."""


class LocalElector:
    """A local elector that runs until the end of the ``with`` block, on loopback only.

    port: where programs that are not replicas reach a sidecar; 0 takes a free port.
    admin_port: the port of the page and the control HTTP API; 0 takes a free port.
    failover_delay: seconds between the end of the leader's replica and the next election.
    public: whether ``elector-thread elect`` and ``fault`` find it from another terminal.
    verify: whether programs are asked to verify leadership by the Lease: sets
        ``ELECTOR_THREAD_VERIFY`` in every ``environ``.

    Attributes: ``port``, ``get_url``, ``sse_url``, ``lease_url`` and ``environ`` (the
    environment variables) are those of the sidecar, and of the API server, for programs that
    are not replicas; ``admin_url`` is the URL of the page and the control HTTP API; ``ui_url``
    is the page's with the ``token``, which allows its holder to inject faults.

    Every method may be called from any thread. Raises OSError if a port is taken.

    Example::

        with LocalElector() as local:
            local.elect("pod-a")
            requests.get(local.get_url).json()["name"]
    """

    # The event loop's thread owns the cluster; other threads get there through `_call`.
    # `_loop` is written before `_started` is set, and only read after that.

    def __init__(
        self,
        port: int = 0,
        *,
        admin_port: int = 0,
        failover_delay: float = 0.0,
        public: bool = False,
        verify: bool = False,
    ) -> None:
        self._admin_socket = bind_socket(admin_port)
        self.admin_port: int = self._admin_socket.getsockname()[1]
        self.admin_url = f"http://localhost:{self.admin_port}"
        self.token = secrets.token_urlsafe(24)
        self.ui_url = f"{self.admin_url}/ui?token={self.token}"
        self._public = public
        try:
            self._cluster = Cluster(
                port,
                failover_delay=failover_delay,
                report_url=lambda key: f"{self.admin_url}/admin/report?key={key}",
                verify=verify,
            )
        except OSError:
            self._admin_socket.close()
            raise
        plain = self._cluster.plain
        self.port = plain.port
        self.get_url = plain.get_url
        self.sse_url = plain.sse_url
        self.lease_url = plain.api.lease_url
        self.environ = plain.environ
        self._admin = AdminApp(self._cluster, self.admin_port, self.token)
        self._started: Future[None] = Future()
        self._thread = Thread(target=self._run_loop, name="local-elector", daemon=True)

    # --- start and stop -------------------------------------------------------------------

    def start(self) -> Self:
        """Start to serve; returns once connections are accepted.

        With ``public``, raises `ElectorError` if other users can access the directory for
        that, and OSError if it cannot be written.
        """
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join()  # so that a `stop` does not find it alive without its loop
            raise
        if self._public:
            try:
                publish(self.ui_url)
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """End all faults, every connection and the server. May be called more than once."""
        if self._public:
            withdraw()
        if self._thread.is_alive():
            self._call(self._end)
            self._thread.join()
        else:
            self._close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- replicas and elections -----------------------------------------------------------

    def add_replica(self, name: str) -> SidecarServer:
        """Add a replica, and start its sidecar; the oldest live replica leads.

        Start the replica's process with the ``environ`` of the sidecar that is returned.
        Raises ValueError if a live replica has this name.
        """
        return self._call(lambda: self._cluster.add_replica(name))

    def remove_replica(self, name: str) -> None:
        """A replica's process is gone. If it led, the next oldest leads. Idempotent."""
        self._run(lambda: self._cluster.remove_replica(name))

    def set_process_hooks(
        self,
        *,
        freeze: ProcessHook | None = None,
        thaw: ProcessHook | None = None,
        kill: ProcessHook | None = None,
    ) -> None:
        """How to stop (SIGSTOP), continue and kill a replica's process, by its name.

        They are called on a worker thread and may call any method here. Without ``kill``
        the replica is removed; without ``freeze`` and ``thaw`` replicas cannot be frozen.
        """
        hooks = ProcessHooks(freeze, thaw, kill)
        self._run(lambda: setattr(self._cluster, "hooks", hooks))

    def elect(self, name: str) -> None:
        """Make ``name`` the leader; returns once the result is sent to every open stream."""
        self._run(lambda: self._cluster.elect(name))

    def follow(self, follower: Callable[[Entry], object]) -> None:
        """Call ``follower(entry)`` for everything that happens from now on (see `History`).

        It is called on the event loop's thread: it must not block or call a method here.
        """
        self._run(lambda: self._cluster.history.follow(follower))

    # --- faults ---------------------------------------------------------------------------

    def fault(
        self, kind: str, replica: str | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Inject a fault into one replica or all (None), for a time or until cleared (None).

        Returns the fault as in ``state()["faults"]``. Raises `FaultError`.
        """

        async def inject() -> dict[str, Any]:
            fault = await self._cluster.add_fault(kind, replica, seconds)
            return fault.as_dict(self._cluster.history.now())

        return self._call(inject)

    def clear(self, kind: str | None = None, replica: str | None = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        return self._call(lambda: self._cluster.clear_faults(kind, replica))

    def state(self) -> dict[str, Any]:
        """The state, as returned by ``GET /admin/state``."""
        return self._run(self._cluster.state)

    # --- the event loop -------------------------------------------------------------------

    def _call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._thread.is_alive():
            raise RuntimeError("the local elector is not running; call start() first")
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(CALL_TIMEOUT)

    def _run(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return self._call(run)

    def _run_loop(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        watch = asyncio.create_task(self._cluster.watch_time())
        try:
            await self._cluster.open()
            self._admin_socket.listen()
            self._server = _admin_server(self._admin)
            self._started.set_result(None)
            await self._server.serve(sockets=[self._admin_socket])
        finally:
            watch.cancel()
            self._close()

    async def _end(self) -> None:
        await self._cluster.clear_faults()
        self._cluster.close()
        self._admin.end_events()
        self._server.should_exit = True

    def _close(self) -> None:
        self._cluster.close()
        self._admin_socket.close()


def _admin_server(admin: AdminApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            admin.app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )

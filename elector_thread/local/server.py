"""Runs the local elector on a loopback port, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
from threading import Event, Thread
from types import TracebackType
from typing import Self

import uvicorn

from .answers import Answers

__all__ = ["LocalElector"]


class LocalElector:
    """A local elector for as long as the ``with`` block lasts.

    port: the loopback port; 0 takes a free one.

    Example::

        with LocalElector() as local:
            local.elect("pod-a")
            requests.get(local.get_url).json()["name"]
    """

    # `_loop` is written by the server's thread before `_ready` is set, and only read after.

    def __init__(self, port: int = 0) -> None:
        self.answers = Answers()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self.answers.app,
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._ready = Event()
        self._thread = Thread(target=self._serve, name="local-elector", daemon=True)

    @property
    def get_url(self) -> str:
        """What ELECTOR_GET_URL would be."""
        return f"http://localhost:{self.port}/"

    @property
    def sse_url(self) -> str:
        """What ELECTOR_SSE_URL would be."""
        return f"http://localhost:{self.port}/sse"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that the platform sets."""
        return {
            "ELECTOR_GET_URL": self.get_url,
            "ELECTOR_SSE_URL": self.sse_url,
            "ELECTOR_PATH": f"localhost:{self.port}",
        }

    def start(self) -> Self:
        """Serve; returns once connections are accepted."""
        self._thread.start()
        self._ready.wait()
        return self

    def elect(self, name: str) -> None:
        """Make ``name`` the leader; returns once every open stream has it queued."""
        done = Event()
        self._loop.call_soon_threadsafe(self.answers.elect, name)
        self._loop.call_soon_threadsafe(done.set)
        done.wait()

    def stop(self) -> None:
        """End the server and every stream."""
        self._loop.call_soon_threadsafe(self.answers.hang_up)
        self._server.should_exit = True
        self._thread.join()

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._ready.set)
        await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

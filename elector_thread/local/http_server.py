"""`HttpServer`: a loopback port that accepts HTTP connections, or refuses them for a while.

Runs on the local elector's event loop, so it needs no lock.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

import h11

from .http_messages import BAD_REQUEST

__all__ = ["HttpServer", "bind_socket", "disconnect"]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class HttpServer:
    """Holds a loopback port (0: a free one) until it is closed.

    handle: answers the requests of one connection, and returns to end it.
    """

    def __init__(self, handle: Handler, port: int = 0) -> None:
        self._handle = handle
        self.socket = bind_socket(port)
        self.port: int = self.socket.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None  # while it listens
        self._closed = False
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept connections.

        Not by `asyncio.start_server`: with Python 3.11 a connection that is accepted while that
        is closed is never ended.
        """
        if self._loop is not None or self._closed:
            return
        self.socket.setblocking(False)
        self.socket.listen(100)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket, self._accept, self._loop)

    def refuse(self) -> None:
        """Reset all connections and refuse new ones until `open`."""
        if self._loop is None:
            return
        self._stop_listening()
        for writer in list(self._connections):
            disconnect(writer, reset=True)
        self.socket = bind_socket(self.port)  # reserves the port without listening

    def close(self) -> None:
        """End all connections and release the port, for good."""
        self._closed = True
        self._stop_listening()
        for writer in list(self._connections):
            writer.transport.abort()

    def _stop_listening(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self.socket)
        self._loop = None
        self.socket.close()

    def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(OSError):  # the client is gone
            connection, _ = self.socket.accept()
            connection.setblocking(False)
            task = loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        if self._loop is None:  # accepted just before `refuse` or `close`
            disconnect(writer, reset=True)
            return
        self._connections.add(writer)
        try:
            await self._handle(reader, writer)
        except h11.RemoteProtocolError:
            writer.write(BAD_REQUEST)
        except ConnectionError:
            pass  # the client is gone
        finally:
            self._connections.discard(writer)
            writer.close()


def disconnect(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """End a connection after what was written so far, or at once by a TCP reset."""
    if not reset:
        writer.close()
        return
    with suppress(OSError):  # already disconnected
        no_linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


def bind_socket(port: int) -> socket.socket:
    """A socket that holds a loopback port (0: a free one) and does not listen yet."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock

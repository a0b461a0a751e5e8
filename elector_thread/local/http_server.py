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
        self._server: asyncio.Server | None = None
        self._closed = False
        self._connections: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Accept connections."""
        if self._server is not None or self._closed:
            return
        self._server = await asyncio.start_server(
            self._serve, sock=self.socket, start_serving=False
        )
        await self._server.start_serving()

    def refuse(self) -> None:
        """Reset all connections and refuse new ones until `open`."""
        if self._server is None:
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
        if self._server is not None:
            self._server.close()
            self._server = None
        self.socket.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

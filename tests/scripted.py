"""A raw-socket HTTP server: the test decides every byte that it sends.

By default it behaves like the real sidecar: GET answers with `leader`, each stream
receives `leader` when it connects, and `push` sends a new result to every stream.
`on_get` and `on_stream` replace this behaviour.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Self

PATIENCE = 10.0
"""Seconds after which a wait in a test is a failure."""

shut_down = socket.socket.shutdown
"""That of an SSLSocket discards the TLS state, on which another thread may be about to read."""

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: text/event-stream\r\n"
CHUNKED_SSE_HEAD = SSE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def result(name: str | None) -> bytes:
    if name is None:
        return b"{}"
    return json.dumps({"name": name, "last_update": "2026-11-23T03:18:53Z"}).encode()


def event(name: str | None) -> bytes:
    return b"data: " + result(name) + b"\n\n"


def answer(body: bytes, head: bytes = JSON_HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Connection:
    """One accepted connection; `path` and `head` are those of the current request."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.path = ""
        self.head = ""
        self.gone = threading.Event()

    def read_request(self) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            with contextlib.suppress(OSError):
                if part := self.sock.recv(4096):
                    data += part
                    continue
            return False
        self.head = data.decode()
        self.path = self.head.split(" ", 2)[1]
        return True

    def send(self, data: bytes) -> bool:
        """Send ``data``; False if the peer has closed the connection."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def shut(self) -> None:
        """End the connection in both directions, also during a TLS handshake."""
        with contextlib.suppress(OSError):
            shut_down(self.sock, socket.SHUT_RDWR)

    def wait_gone(self) -> None:
        """Block until the peer closes."""
        with contextlib.suppress(OSError):
            while self.sock.recv(4096):
                pass
        self.gone.set()


Handler = Callable[[Connection], object]


class ScriptedServer:
    """Accepts connections on loopback, with one thread for each.

    `changed` protects the counters and lists, and the replacement of a connection's socket.
    """

    def __init__(
        self, leader: str | None = None, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.leader = leader
        self.on_get: Handler = lambda connection: connection.send(answer(result(self.leader)))
        self.on_stream: Handler = self.serve_stream
        self.changed = threading.Condition()
        self.gets = 0
        self.connections = 0
        self.stream_requests = 0
        self.heads: list[str] = []
        self.streams: list[Connection] = []
        self._all: list[Connection] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        scheme = "https" if tls else "http"
        self.get_url = f"{scheme}://127.0.0.1:{self.port}/"
        self.sse_url = f"{scheme}://127.0.0.1:{self.port}/sse"
        self._tls = tls
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def push(self, *names: str | None) -> None:
        """Send a result to every open stream; several names arrive in one chunk."""
        self.send_to_streams(chunk(b"".join(event(name) for name in names)))

    def elect(self, name: str | None) -> None:
        """Change the leader, for GET and for every open stream."""
        self.leader = name
        self.push(name)

    def send_to_streams(self, data: bytes) -> None:
        for connection in list(self.streams):
            connection.send(data)

    def wait_for(self, wanted: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(wanted, PATIENCE), "the client did not do it in time"

    def wait_gets(self, more: int) -> None:
        """Wait for ``more`` GETs from now on."""
        goal = self.gets + more
        self.wait_for(lambda: self.gets >= goal)

    def wait_streams(self, count: int = 1) -> None:
        """Wait until ``count`` streams are open."""
        self.wait_for(lambda: len(self.streams) >= count)

    def serve_stream(self, connection: Connection, head: bytes = CHUNKED_SSE_HEAD) -> None:
        connection.send(head + chunk(event(self.leader)))
        self.keep_stream(connection)

    def keep_stream(self, connection: Connection) -> None:
        """Count the connection among the open streams until the peer goes."""
        with self.changed:
            self.streams.append(connection)
            self.changed.notify_all()
        connection.wait_gone()
        with self.changed:
            self.streams.remove(connection)
            self.changed.notify_all()

    def drop_streams(self) -> None:
        for connection in list(self.streams):
            connection.shut()

    def close(self) -> None:
        """Stop listening and end every connection, as if the process had died."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE)  # afterwards, every accepted connection is listed
        assert not self._acceptor.is_alive(), "the server still accepts connections"
        self._listener.close()
        with self.changed:
            for connection in self._all:
                connection.shut()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            with self.changed:
                self._all.append(connection)
                self.connections += 1
                self.changed.notify_all()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            if self._secure(connection):
                while connection.read_request():
                    self._handle(connection)
        finally:
            with self.changed:  # close() must not shut down a reused descriptor
                connection.sock.close()

    def _secure(self, connection: Connection) -> bool:
        """Begin TLS, if the server uses it; False if the handshake failed."""
        if self._tls is None:
            return True
        try:
            with self.changed:  # shut() has no effect on a socket that is being wrapped
                connection.sock = secured = self._tls.wrap_socket(
                    connection.sock, server_side=True, do_handshake_on_connect=False
                )
            secured.do_handshake()
        except OSError:  # refused by the client, which reports the reason, or shut by close()
            return False
        return True

    def _handle(self, connection: Connection) -> None:
        is_stream = connection.path.endswith("/sse")
        with self.changed:
            self.heads.append(connection.head)
            self.stream_requests += is_stream
            self.changed.notify_all()
        (self.on_stream if is_stream else self.on_get)(connection)
        with self.changed:  # counted once answered
            self.gets += not is_stream
            self.changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

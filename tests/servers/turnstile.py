"""A TCP proxy in front of an elector, which counts the open streams."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Turnstile:
    """Forwards every connection to ``port`` on loopback; `streams` counts those that read /sse.

    `changed` protects `streams`. While `gets_pass` is cleared, other requests wait.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.changed = threading.Condition()
        self.streams = 0
        self.gets_pass = threading.Event()
        self.gets_pass.set()
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}/"
        return {"ELECTOR_GET_URL": url, "ELECTOR_SSE_URL": f"{url}sse"}

    def wait_streams(self, count: int, within: float) -> int:
        """Wait until ``count`` streams are open; return how many there are in the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.streams == count, within)
            return self.streams

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),  # a process that is killed resets its connections
            client,
            socket.create_connection(("127.0.0.1", self._upstream)) as upstream,
        ):
            self._pairs += [client, upstream]
            first = client.recv(65536)
            back = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
            back.start()
            if first.startswith(b"GET /sse "):
                self._forward_stream(client, upstream, first)
            else:
                self._forward_gets(client, upstream, first)
            back.join()

    def _forward_stream(self, client: socket.socket, upstream: socket.socket, first: bytes) -> None:
        self._count(1)
        try:
            upstream.sendall(first)
            _copy(client, upstream)
        finally:
            self._count(-1)

    def _forward_gets(self, client: socket.socket, upstream: socket.socket, data: bytes) -> None:
        while data:
            self.gets_pass.wait()
            upstream.sendall(data)
            data = client.recv(65536)
        upstream.shutdown(socket.SHUT_RDWR)

    def _count(self, more: int) -> None:
        with self.changed:
            self.streams += more
            self.changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gets_pass.set()
        for sock in [self._listener, *self._pairs]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

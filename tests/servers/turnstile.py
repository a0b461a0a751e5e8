"""A door in front of an elector that counts who listens. Knows nothing of either side's insides."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Turnstile:
    """Forwards every connection to ``port`` on loopback; `streams` are those asking for /sse.

    `changed` protects `streams`.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.changed = threading.Condition()
        self.streams = 0
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}/"
        return {"ELECTOR_GET_URL": url, "ELECTOR_SSE_URL": f"{url}sse"}

    def wait_streams(self, count: int, within: float) -> int:
        """Wait until ``count`` streams are open; how many there are in the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.streams == count, within)
            return self.streams

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as upstream:
            self._pairs += [client, upstream]
            back = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
            back.start()
            first = client.recv(65536)
            listens = first.startswith(b"GET /sse ")
            self._count(listens)
            upstream.sendall(first)
            _copy(client, upstream)
            self._count(-listens)
            back.join()

    def _count(self, more: int) -> None:
        with self.changed:
            self.streams += more
            self.changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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

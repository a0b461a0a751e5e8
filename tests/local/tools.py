"""How the tests of the local elector talk to it."""

from __future__ import annotations

import json
import re
import socket
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0


class Wire:
    """A raw socket to a sidecar."""

    def __init__(self, port: int, sent: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.got = b""
        self.socket.sendall(sent)

    def read_until(self, end: bytes) -> bytes:
        """Everything up to and with ``end``; what came after it is kept for the next time."""
        while end not in self.got:
            data = self.socket.recv(65536)
            assert data, f"the connection ended before {end!r}; it brought {self.got!r}"
            self.got += data
        head, _, self.got = self.got.partition(end)
        return head + end

    def read_exactly(self, count: int) -> bytes:
        while len(self.got) < count:
            data = self.socket.recv(65536)
            assert data, f"the connection ended after {self.got!r}"
            self.got += data
        head, self.got = self.got[:count], self.got[count:]
        return head

    def event(self) -> Any:
        """The next event's data, as JSON."""
        block = self.read_until(b"\n\n\r\n")
        return json.loads(block[block.index(b"data: ") + 6 :])

    def end(self) -> str:
        """How the connection ends: "closed" or "reset"."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return "reset"
        return "closed"

    def is_quiet(self, seconds: float = 0.15) -> bool:
        """Whether nothing comes for a while, and the connection stays open."""
        if self.got:
            return False
        self.socket.settimeout(seconds)
        try:
            self.got = self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SSE = b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n"


def stream(port: int) -> Wire:
    """An open stream, its head read."""
    wire = Wire(port, SSE)
    wire.read_until(b"\r\n\r\n")
    return wire


def get(port: int) -> tuple[bytes, bytes, bytes]:
    """One GET: status line, headers, body."""
    with Wire(port, GET) as wire:
        head = wire.read_until(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length, head
        status, _, headers = head.partition(b"\r\n")
        return status, headers, wire.read_exactly(int(length[1]))


def leader_at(port: int) -> str | None:
    """The name in one GET."""
    name: str | None = json.loads(get(port)[2]).get("name")
    return name

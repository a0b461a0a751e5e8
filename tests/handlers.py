"""What a `ScriptedServer` can do to a client, one connection at a time."""

from __future__ import annotations

import threading

from elector_thread._state.clock import now

from .scripted import Connection, Handler


def says(data: bytes) -> Handler:
    """Send ``data`` and close."""

    def handle(connection: Connection) -> None:
        connection.send(data)
        connection.shut()

    return handle


def floods(head: bytes, piece: bytes) -> Handler:
    """Send ``piece`` for as long as the peer takes it, and half a minute at most."""

    def handle(connection: Connection) -> None:
        connection.sock.settimeout(30)
        connection.send(head)
        until = now() + 30
        block = piece * (65536 // len(piece) + 1)
        while connection.send(block) and now() < until:
            pass
        connection.shut()

    return handle


def hangs(data: bytes = b"") -> Handler:
    """Send ``data``, then nothing."""

    def handle(connection: Connection) -> None:
        connection.send(data)
        connection.wait_gone()

    return handle


def drips(data: bytes) -> Handler:
    """A byte now and then: each read is in time, the whole is not."""

    def handle(connection: Connection) -> None:
        pause = threading.Event()
        for index in range(len(data)):
            if not connection.send(data[index : index + 1]) or pause.wait(0.05):
                return

    return handle

"""The port of a local elector: what is accepted while it closes ends as well."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from elector_thread.local.http_server import HttpServer

from ..scripted import PATIENCE


async def wait_for_requests(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("end", [HttpServer.close, HttpServer.refuse], ids=["close", "refuse"])
@pytest.mark.parametrize("steps", range(5))
def test_a_connection_that_is_accepted_while_the_port_closes_is_ended(
    end: Callable[[HttpServer], None], steps: int
) -> None:
    """Wherever the event loop is between accepting it and serving it."""

    async def accept_and_end(client: socket.socket) -> None:
        server = HttpServer(wait_for_requests)
        await server.open()
        client.connect(("127.0.0.1", server.port))
        for _ in range(steps):
            await asyncio.sleep(0)
        end(server)
        with suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""
        server.close()

    with socket.socket() as client:
        client.settimeout(PATIENCE)
        asyncio.run(accept_and_end(client))

"""The ASGI adapter: the example under uvicorn, and its promises on a loop of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from elector_thread import (
    Elector,
)
from elector_thread.aio import AsyncElector
from elector_thread.integrations.asgi import wrap
from elector_thread.local import LocalElector

from ..conftest import MakeElector
from ..scripted import ScriptedServer
from .replica import PATIENCE, SWITCH, Replica, environment, free_port, wait_streams


def test_the_example_under_uvicorn(local: LocalElector) -> None:
    port = free_port()
    env = environment(local.environ)
    command = ("-m", "uvicorn", "fastapi_app:app", "--port", str(port))
    with Replica(*command, env=env, port=port) as replica:
        replica.wait_line("leadership 1 begins")
        replica.wait_line("a report is sent")
        replica.wait_leader("pod-a", True)
        wait_streams(local, 1)
        local.elect("pod-b")
        replica.wait_line("leadership 1 is over", within=SWITCH)
        replica.wait_leader("pod-b", False)
        assert replica.get("/wait?seconds=0.05") == (200, {"is_leader": False})
        code, health = replica.get("/elector")
        assert (code, health["state"]) == (200, "follower")
        local.elect("pod-a")
        replica.wait_line("leadership 2 begins", within=SWITCH)
        replica.terminate()
        replica.wait_line("closes what the app needed")
        over = replica.output.index("leadership 2 is over")
        assert over < replica.output.index("closes what the app needed")
    wait_streams(local, 0)


@pytest.fixture
def elector(make_elector: MakeElector) -> Elector:
    return make_elector()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    asyncio.run(limited())


# --- any ASGI app ----------------------------------------------------------------------


async def live(app: Any, during: Callable[[], Awaitable[None]]) -> list[str]:
    """Run ``app``'s lifespan as a server does; what it sent."""
    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    sent: list[str] = []
    started = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        started.set()

    messages.put_nowait({"type": "lifespan.startup"})
    task = asyncio.create_task(app({"type": "lifespan"}, messages.get, send))
    await started.wait()
    await during()
    messages.put_nowait({"type": "lifespan.shutdown"})
    await task
    return sent


async def knows_no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("as Django does")


async def takes_the_message_and_fails(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise KeyError("expected a request")


@pytest.mark.parametrize(
    "app",
    [
        knows_no_lifespan,
        takes_the_message_and_fails,
        Starlette(routes=[Route("/", lambda _: PlainTextResponse("hello"))]),
    ],
    ids=["raises at once", "raises later", "Starlette"],
)
def test_wrap_adds_a_lifespan_to_any_app(
    elector: Elector, server: ScriptedServer, app: Any
) -> None:
    async def main() -> None:
        server.leader = "pod-a"
        asynchronous = AsyncElector(elector)

        async def during() -> None:
            assert await asynchronous.wait_until_leader()

        sent = await live(wrap(app, asynchronous), during)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert not asynchronous.status().running

    run(main)


def test_wrap_stops_if_the_app_cannot_start(elector: Elector) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    async def main() -> None:
        asynchronous = AsyncElector(elector)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message["type"])
            assert not asynchronous.status().running

        async def receive() -> Any:
            return {"type": "lifespan.startup"}

        await wrap(fails, asynchronous)({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.failed"]

    run(main)


def test_wrap_stops_if_the_app_fails_after_its_start(elector: Elector) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise RuntimeError("later")

    async def main() -> None:
        asynchronous = AsyncElector(elector)
        running: list[bool] = []

        async def send(message: Any) -> None:
            running.append(asynchronous.status().running)

        async def receive() -> Any:
            return {"type": "lifespan.startup"}

        with pytest.raises(RuntimeError, match="later"):
            await wrap(fails, asynchronous)({"type": "lifespan"}, receive, send)
        assert running == [True]
        assert not asynchronous.status().running

    run(main)


def test_wrap_hands_requests_on(elector: Elector) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(Request(scope).url.path)

    async def main() -> None:
        scope: Any = {"type": "http", "path": "/there", "headers": [], "server": ("host", 80)}
        await wrap(app, AsyncElector(elector))(scope, None, None)  # type: ignore[arg-type]  # unused

    run(main)
    assert seen == ["/there"]

"""uvicorn: steps down when the server ends, which it otherwise does without telling anybody.

uvicorn ends itself by the signal it was sent, so Python's exit handlers do not run;
only the application's lifespan is told. One line, for any ASGI application::

    app = steps_down(app)

``--workers`` and ``--reload`` spawn: the parent never loads the application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .._runtime.process import start_dormant, step_down

__all__ = ["steps_down"]

PATIENCE = 2.0
"""Seconds that the server's end waits for ``on_demoted`` callbacks and leader tasks."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def steps_down(app: App) -> App:
    """``app``, with every elector of this process stopped at the end of its lifespan.

    An application without a lifespan gets one.
    """

    async def with_end(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(app, scope, receive, send)
        else:
            await app(scope, receive, send)

    return with_end


async def _live(app: App, scope: Message, receive: Receive, send: Send) -> None:
    answered = False

    async def send_after_the_end(message: Message) -> None:
        nonlocal answered
        answered = True
        if message["type"].startswith("lifespan.shutdown"):
            await asyncio.to_thread(step_down, PATIENCE)
        await send(message)

    start_dormant()
    try:
        await app(scope, receive, send_after_the_end)
    except Exception:
        if answered:
            raise
    if not answered:  # the application knows no lifespan
        await send({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
        await send_after_the_end({"type": "lifespan.shutdown.complete"})

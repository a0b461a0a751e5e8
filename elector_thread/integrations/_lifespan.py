"""The ASGI lifespan of an application, with something to do at its start and at its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["App", "Message", "Receive", "Send", "with_lifespan"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def with_lifespan(
    app: App, start: Callable[[], object], stop: Callable[[], Awaitable[object]]
) -> App:
    """``app``, with ``start`` called before its own startup and ``stop`` after its own shutdown.

    An application without a lifespan gets one. ``stop`` is also called if the application
    fails to start or raises.
    """

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespan(start, stop, receive, send).run(app, scope)
        else:
            await app(scope, receive, send)

    return wrapped


class _Lifespan:
    """One run of an application's lifespan."""

    def __init__(
        self,
        start: Callable[[], object],
        stop: Callable[[], Awaitable[object]],
        receive: Receive,
        send: Send,
    ) -> None:
        self._start = start
        self._stop = stop
        self._receive = receive
        self._send = send
        self._started = False
        self._answered = False  # the application has a lifespan of its own

    async def run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self._receive_and_start, self._stop_and_send)
        except Exception:
            if self._answered:
                await self._stop()
                raise
        if not self._answered:  # ASGI: an application that raises at once has no lifespan
            await self._run_without_app()

    async def _receive_and_start(self) -> Message:
        message = await self._receive()
        if not self._started:
            self._started = True
            self._start()
        return message

    async def _stop_and_send(self, message: Message) -> None:
        self._answered = True
        if message["type"] != "lifespan.startup.complete":  # shut down, or failed to start
            await self._stop()
        await self._send(message)

    async def _run_without_app(self) -> None:
        if not self._started:
            await self._receive_and_start()
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._stop_and_send({"type": "lifespan.shutdown.complete"})

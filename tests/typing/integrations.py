"""Never run: mypy checks that the adapters fit their frameworks' types, as documented."""

from __future__ import annotations

from typing import assert_type

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from elector_thread.guard import Skipped
from elector_thread.integrations import health
from elector_thread.integrations.asgi import AsyncElector
from elector_thread.integrations.flask import FlaskElector
from elector_thread.integrations.uvicorn import steps_down

elector = AsyncElector(when_unconfigured="lead")

app = FastAPI(lifespan=elector.lifespan)
app.add_route("/elector", health.asgi(elector))
app.mount("/health", health.asgi())
steps_down(elector.wrap(app))

starlette = Starlette(routes=[Route("/elector", health.asgi()), Mount("/health", health.asgi())])
starlette.add_route("/elector", health.asgi(elector))
elector.wrap(health.asgi())


@elector.only_on_leader
async def report(number: int) -> str:
    return str(number)


async def awaits() -> None:
    assert_type(await report(1), str | Skipped)


@FlaskElector().only_on_leader(raises=True)
def strict() -> str:
    return "ran"


assert_type(strict(), str)

"""Never run: mypy checks that the adapters fit their frameworks' types, as documented."""

from __future__ import annotations

from typing import assert_type

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from elector_thread import Elector
from elector_thread.aio import AsyncElector
from elector_thread.guard import Skipped
from elector_thread.integrations import health
from elector_thread.integrations.asgi import wrap
from elector_thread.integrations.django.conf import DjangoOptions
from elector_thread.integrations.flask import FlaskElector
from elector_thread.integrations.uvicorn import steps_down
from elector_thread.settings import Options

elector = AsyncElector(when_unconfigured="lead")
AsyncElector(Elector(identity="pod-a"))
AsyncElector(grace_periode=60)  # type: ignore[call-arg]  # a misspelt setting
AsyncElector(scope="prozess")  # type: ignore[arg-type]  # not a choice

flask_options: Options = {"scope": "process", "grace_period": 60}
flask_options = {"scop": "process"}  # type: ignore[typeddict-unknown-key]  # a misspelt setting
flask_options = {"scope": "prozess"}  # type: ignore[typeddict-item]  # not a choice
django_options: DjangoOptions = {"scope": "process", "start_in": ["consume"]}
django_options = {"start": ["consume"]}  # type: ignore[typeddict-unknown-key]  # a misspelt setting
django_options = {"when_unconfigured": "folow"}  # type: ignore[typeddict-item]  # not a choice

app = FastAPI(lifespan=elector.lifespan)
app.add_route("/elector", health.asgi(elector))
app.mount("/health", health.asgi())
steps_down(wrap(app, elector))

starlette = Starlette(routes=[Route("/elector", health.asgi()), Mount("/health", health.asgi())])
starlette.add_route("/elector", health.asgi(elector))
wrap(health.asgi(), elector)


@elector.only_on_leader
async def report(number: int) -> str:
    return str(number)


async def awaits() -> None:
    assert_type(await report(1), str | Skipped)


@FlaskElector().only_on_leader(raises=True)
def strict() -> str:
    return "ran"


assert_type(strict(), str)

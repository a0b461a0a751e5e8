"""FastAPI: ``uvicorn --app-dir examples fastapi_app:app``."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from elector_thread.aio import AsyncElector, AsyncLeadership
from elector_thread.integrations import health

# Where ELECTOR_GET_URL is not set, as on your own machine, this process is the leader.
elector = AsyncElector(when_unconfigured="lead")


@elector.while_leader
async def send_reports() -> None:
    while True:
        print("a report is sent", flush=True)
        await asyncio.sleep(1)


@elector.on_elected
async def begin(leadership: AsyncLeadership) -> None:
    print(f"leadership {leadership.number} begins", flush=True)


@elector.on_demoted
async def end(leadership: AsyncLeadership) -> None:
    print(f"leadership {leadership.number} is over", flush=True)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    print("opens what the app needs", flush=True)
    async with elector:
        yield
    print("closes what the app needed", flush=True)


app = FastAPI(lifespan=lifespan)
app.add_route("/elector", health.asgi(elector))


@app.get("/")
async def index() -> dict[str, Any]:
    return {"leader": elector.leader, "is_leader": elector.is_leader, "pid": os.getpid()}


@app.get("/wait")
async def wait(seconds: float = 5) -> dict[str, bool]:
    return {"is_leader": await elector.wait_until_leader(timeout=seconds)}

"""ASGI apps that take no lifespan function, such as Django's.

FastAPI, Starlette and Litestar take one: give them `AsyncElector.lifespan`. The module needs no
framework; the extras ``asgi`` and ``fastapi`` only install them.
"""

from __future__ import annotations

from ..aio import AsyncElector
from ._lifespan import App, with_lifespan

__all__ = ["wrap"]


def wrap(app: App, elector: AsyncElector) -> App:
    """``app`` with the elector started before its startup, and stopped after its shutdown.

    A lifespan that the app has runs inside.
    """
    return with_lifespan(app, elector.start, elector.stop)

"""uvicorn: step down when the server shuts down.

At shutdown uvicorn kills itself with the signal that it received, so Python's exit handlers
do not run; only the application's lifespan is ended. One line, for any ASGI application::

    app = steps_down(app)

With ``--workers`` and ``--reload`` uvicorn spawns its workers: the parent process does not
load the application.
"""

from __future__ import annotations

import asyncio

from .._runtime.process import EXIT_PATIENCE, start_dormant, step_down
from ._lifespan import App, with_lifespan

__all__ = ["steps_down"]


def steps_down(app: App) -> App:
    """``app``, with every elector of this process stopped at the end of its lifespan.

    An application without a lifespan gets one.
    """
    return with_lifespan(app, start_dormant, lambda: asyncio.to_thread(step_down, EXIT_PATIENCE))

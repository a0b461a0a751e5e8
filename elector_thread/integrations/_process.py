"""What this process is for, as seen while it loads the application.

Adapters that start an elector by themselves ask here. A process that only loads
the application to fork its workers from it, or to restart it on changes, serves
no requests: it must not connect. Call these only while the application is being loaded.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

from .._runtime import forks

__all__ = ["hold_back", "is_preloading_master", "is_server_worker", "loaders"]

SERVERS = ("gunicorn.workers.", "uvicorn.", "hypercorn.", "waitress.", "daphne.", "granian.")
"""Modules of servers that load the application only where they serve it."""


def loaders() -> frozenset[str]:
    """The modules whose functions are on this thread's stack: they load the application."""
    names = set()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        names.add(str(frame.f_globals.get("__name__")))
        frame = frame.f_back
    return frozenset(names)


def is_preloading_master(loading: frozenset[str]) -> bool:
    """Whether a server's master loads the application, and forks its workers afterwards.

    gunicorn with ``--preload`` loads it in the arbiter, before there is a worker;
    uWSGI without ``--lazy-apps`` in its master, if it has one.
    """
    uwsgi = sys.modules.get("uwsgi")  # exists inside uWSGI alone
    if uwsgi is not None:
        return bool(uwsgi.masterpid() == os.getpid())
    return "gunicorn.arbiter" in loading and not _has(loading, "gunicorn.workers.")


AT_FIRST_REQUEST = (
    "at its first request; to start it with the worker, add this line to gunicorn.conf.py: "
    "from elector_thread.integrations.gunicorn import post_worker_init, worker_exit"
)


def hold_back() -> None:
    """In a master that loads the application: start in the workers.

    At their start where a server's hook was imported, otherwise at their first request.
    """
    hooks = (f"{__package__}.gunicorn", f"{__package__}.uwsgi")
    hooked = any(name in sys.modules for name in hooks)
    forks.hold_back(forks.AT_THEIR_START if hooked else AT_FIRST_REQUEST)


def is_server_worker(loading: frozenset[str]) -> bool:
    """Whether a server that we know loads the application in order to serve it here."""
    if is_preloading_master(loading):
        return False
    return "uwsgi" in sys.modules or any(_has(loading, prefix) for prefix in SERVERS)


def _has(loading: frozenset[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in loading)

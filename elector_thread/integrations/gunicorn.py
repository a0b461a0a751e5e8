"""gunicorn: server hooks, to be imported in ``gunicorn.conf.py`` and nowhere else.

::

    from elector_thread.integrations.gunicorn import post_worker_init, worker_exit

gunicorn reads its configuration in the master, before ``--preload`` loads the application
there. This import then marks the process as a master, so that electors that the application
starts in it start in the workers instead.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .._runtime import forks
from .._runtime.process import EXIT_PATIENCE, start_dormant, step_down

__all__ = ["post_worker_init", "worker_exit"]


def post_worker_init(_worker: Any) -> None:
    """In a worker: start the electors that the application started in the master.

    Not ``post_fork``: gunicorn's gevent worker patches the standard library after that hook.
    """
    start_dormant()


def worker_exit(_server: Any, worker: Any) -> None:
    """In a worker that ends: step down. gunicorn may also call this in the master: no effect."""
    if worker.pid == os.getpid():
        step_down(EXIT_PATIENCE)


if "gunicorn.arbiter" in sys.modules:  # gunicorn reads its configuration: this is the master
    forks.hold_back(forks.AT_THEIR_START)

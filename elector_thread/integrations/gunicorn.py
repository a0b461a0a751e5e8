"""gunicorn: hooks to import in one line of ``gunicorn.conf.py``, and nowhere else.

::

    from elector_thread.integrations.gunicorn import post_worker_init, worker_exit

gunicorn reads its configuration in the master, before ``--preload`` loads the
application there. The import says so: electors that the application starts in the
master start in the workers instead.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .._runtime import forks
from .._runtime.process import start_dormant, step_down

__all__ = ["post_worker_init", "worker_exit"]

PATIENCE = 2.0
"""Seconds that a worker's end waits for ``on_demoted`` callbacks and leader tasks."""


def post_worker_init(_worker: Any) -> None:
    """Start, in a worker, what the application started in the master.

    Not ``post_fork``: the gevent worker patches the standard library after that.
    """
    start_dormant()


def worker_exit(_server: Any, worker: Any) -> None:
    """Step down in a worker that ends. gunicorn may call this in the master too, which does not."""
    if worker.pid == os.getpid():
        step_down(PATIENCE)


if "gunicorn.arbiter" in sys.modules:  # gunicorn reads its configuration: this is the master
    forks.hold_back()

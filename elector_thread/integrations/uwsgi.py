"""uWSGI: makes its workers right. Nothing to write: ``import elector_thread`` there imports this.

uWSGI forks in C and runs none of Python's fork hooks, but has one of its own, for
workers that it did not fork as well. Electors that are started before that (by the
application, unless ``lazy-apps``) start in the workers instead. Mules and spoolers come
alive when they ask.

Importing ``uwsgidecorators`` later takes our hook out; workers then come alive at
their first use of an elector as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from .._runtime import forks
from .._runtime.process import start_dormant

try:
    import uwsgi  # type: ignore[import-untyped,unused-ignore]  # exists inside uWSGI alone
except ImportError:
    raise ImportError("elector_thread.integrations.uwsgi works inside uWSGI alone") from None

__all__ = ["post_fork"]

log = logging.getLogger("elector_thread")


def post_fork() -> None:
    """Start, in a worker, what the application started in the master."""
    forks.notice()
    if uwsgi.worker_id():
        forks.let_go()  # without a master, the process that forked the others is a worker too
        start_dormant()


def _chained(previous: Callable[[], object] | None) -> Callable[[], None]:
    def hook() -> None:
        post_fork()
        if previous is not None:
            previous()

    return hook


def _install() -> None:
    uwsgi.post_fork_hook = _chained(getattr(uwsgi, "post_fork_hook", None))
    if not uwsgi.worker_id() and uwsgi.masterpid() in (0, os.getpid()):
        forks.hold_back()  # the workers are still to be forked
    if not uwsgi.has_threads:
        log.warning(
            "uWSGI runs without threads, so nothing is heard of the elector between requests: "
            "set enable-threads = true, or ask by refresh()"
        )


_install()

"""uWSGI: start the electors in its workers. ``import elector_thread`` imports this module there.

uWSGI forks in C and runs none of Python's fork hooks. It has a hook of its own, which it also
calls in workers that it did not fork. Electors that the application starts before the fork
(unless ``lazy-apps`` is set) start in the workers instead. In mules and spoolers they start
at their first use.

If ``uwsgidecorators`` is imported later, it replaces our hook; electors then start at their
first use in the workers, too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from .._runtime import forks
from .._runtime.process import start_dormant

try:
    import uwsgi  # type: ignore[import-untyped,unused-ignore]  # exists only inside uWSGI
except ImportError:
    raise ImportError("elector_thread.integrations.uwsgi works only inside uWSGI") from None

__all__ = ["post_fork"]

log = logging.getLogger("elector_thread")


def post_fork() -> None:
    """In a worker: start the electors that the application started in the master."""
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
        forks.hold_back(forks.AT_THEIR_START)  # the workers are not forked yet
    if not uwsgi.has_threads:
        log.warning(
            "uWSGI runs without Python threads, so the elector is not followed between requests: "
            "set enable-threads = true, or call refresh() in each request"
        )


_install()

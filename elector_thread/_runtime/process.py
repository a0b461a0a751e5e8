"""Every elector of this process: what a fork, a server's hook and the exit do to them."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

from .._state.model import Status
from . import forks
from .phases import Trigger
from .runtime import Runtime, end_all

__all__ = [
    "EXIT_PATIENCE",
    "Host",
    "electors",
    "keep",
    "register",
    "release",
    "start_dormant",
    "step_down",
]

EXIT_PATIENCE = 2.0
"""Seconds that the interpreter's exit waits for ``on_demoted`` callbacks and leader tasks."""


class Host(Protocol):
    """An `Elector`, as far as this module needs it."""

    _runtime: Runtime

    def status(self) -> Status:
        """See `Elector.status`."""

    def __hash__(self) -> int: ...


_hosts: dict[weakref.ref[Host], None] = {}  # each operation on it is atomic
_kept: set[Host] = set()  # started and not stopped


def register(host: Host) -> None:
    """``host`` is one more elector of this process."""
    _hosts[weakref.ref(host, _hosts.pop)] = None


def keep(host: Host) -> None:
    """Keep a strong reference to ``host`` while it runs."""
    _kept.add(host)


def release(host: Host) -> None:
    """``host`` was stopped: undo `keep`."""
    _kept.discard(host)


def electors() -> list[Host]:
    """Every elector of this process that was ever started: `Elector.status` cannot fail on it."""
    return [host for host in _all() if host._runtime.used and host._runtime.resolved]


def _all() -> list[Host]:
    return [host for known in list(_hosts) if (host := known()) is not None]


def start_dormant() -> None:
    """For servers' hooks: start what ran in the parent of this forked process."""
    forks.notice()
    for host in electors():
        host._runtime.use(Trigger.WAKE)


def step_down(timeout: float) -> bool:
    """For servers' hooks and the interpreter's exit: stop every elector of this process.

    All step down first; then at most ``timeout`` seconds pass until their callbacks and
    leader tasks have ended. Returns False if some have not.
    """
    forks.notice()
    return end_all([host._runtime for host in _all()], timeout)


def _after_fork() -> None:
    """In a forked child: replace what was inherited."""
    for host in _all():
        host._runtime = host._runtime.for_child()


forks.in_child(_after_fork)
# Exit handlers run in reverse order. urllib3 closes its pools by weakref.finalize, which
# registers one handler when it is first used: let that be now, so that ours runs before it.
weakref.finalize(Runtime, id, None)
atexit.register(step_down, EXIT_PATIENCE)

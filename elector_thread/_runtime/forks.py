"""Forks: running hooks in a forked child, and processes that only fork workers.

Python runs hooks for its own forks. A server that forks in C (uWSGI) runs none, so the
process id is compared as well. This module starts no thread and opens nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = [
    "AT_FIRST_USE",
    "AT_THEIR_START",
    "hold_back",
    "in_child",
    "is_held_back",
    "let_go",
    "notice",
]

AT_THEIR_START = "at its start"
AT_FIRST_USE = "at its first use"

_callbacks: list[Callable[[], None]] = []  # appended to while modules are imported
_here = os.getpid()  # the process for which the callbacks were last run
_holder: int | None = None  # the process that holds back
when_workers_start = AT_FIRST_USE
_turns: dict[int, threading.RLock] = {}  # one lock a process: an inherited one may be locked


def in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every forked child, in the order of registration.

    It runs before any other code of ours does there, while only one thread exists. It
    must take no inherited lock, start no thread and log nothing.
    """
    _callbacks.append(callback)


def notice() -> None:
    """Run the callbacks now if this process was forked without Python's hooks."""
    here = os.getpid()
    if _here == here:
        return
    with _turns.setdefault(here, threading.RLock()):  # atomic: all threads get the same lock
        if _here != here:
            _become_child()


def hold_back(when: str = AT_FIRST_USE) -> None:
    """This process only forks workers: nothing is to start in it, only in its children.

    For a server's master, before it loads the application. when: it starts in each of them,
    for the log.
    """
    global _holder, when_workers_start
    _holder = os.getpid()
    when_workers_start = when


def let_go() -> None:
    """This process serves requests as well: undo `hold_back`."""
    global _holder
    _holder = None


def is_held_back() -> bool:
    """Whether this very process holds back; its children do not."""
    return _holder is not None and _holder == os.getpid()


def _become_child() -> None:
    global _here
    for callback in _callbacks:
        with suppress(Exception):  # one that fails must not keep the others from running
            callback()
    _here = os.getpid()  # last: until then, other threads wait for their turn


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_become_child)

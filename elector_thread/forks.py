"""Copies of this process: who learns of a fork, and which process only forks others.

Python tells of its own forks. A server that forks in C (uWSGI) tells nobody, so
there the process's number is compared as well. Starts no thread, opens nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["hold_back", "in_child", "is_held_back", "let_go", "notice"]

_callbacks: list[Callable[[], None]] = []  # appended to while modules are imported
_here = os.getpid()  # the process that the callbacks were last run for
_holder: int | None = None  # the process that holds back
_turns: dict[int, threading.RLock] = {}  # one lock a process: a copied one may be held by nobody


def in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every forked child, in the order of registration.

    It runs before anything else of ours does there, with no second thread of ours
    alive. It must take no inherited lock, start no thread and log nothing.
    """
    _callbacks.append(callback)


def notice() -> None:
    """Run the callbacks now if this process was forked without Python being told."""
    here = os.getpid()
    if _here == here:
        return
    with _turns.setdefault(here, threading.RLock()):  # atomic: threads agree on one lock
        if _here != here:
            _become_a_child()


def hold_back() -> None:
    """This process only forks those that serve: nothing is to start in it, only in its children.

    For a server's master, before it loads the application.
    """
    global _holder
    _holder = os.getpid()


def let_go() -> None:
    """It serves as well, after all: hold back no longer."""
    global _holder
    _holder = None


def is_held_back() -> bool:
    """Whether this very process was told to hold back. Its children are not."""
    return _holder is not None and _holder == os.getpid()


def _become_a_child() -> None:
    global _here
    for callback in _callbacks:
        callback()
    _here = os.getpid()  # last: until then, other threads wait for their turn


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_become_a_child)

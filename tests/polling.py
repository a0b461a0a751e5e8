"""The only helper that polls, for state whose changes cannot be waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from elector_thread._state.clock import now

Found = TypeVar("Found")


def until(wanted: Callable[[], Found], what: str = "it to happen", within: float = 15.0) -> Found:
    """Call ``wanted`` until its result is true, and return that; fail after ``within`` seconds."""
    give_up = now() + within
    pause = threading.Event()
    while not (found := wanted()):
        assert now() < give_up, f"expected {what} within {within:g} s"
        pause.wait(0.01)
    return found

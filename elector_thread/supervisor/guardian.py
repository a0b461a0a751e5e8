"""The guardian: a second process that ends the replicas if the first is killed outright.

On Linux the kernel kills each replica's own process with us, but not what that has
started: behind ``uv run`` or ``sh -c`` the app itself would live on. The guardian waits
on a pipe that only we hold; when it closes, whatever is still registered is killed.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from ..child import kill_session

__all__ = ["Guardian"]

MOST_DESCRIPTORS = 4096
"""More than a command line has open at its start; where there is no limit, all take minutes."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Guardian:
    """Forked by the constructor; construct it before any thread is started.

    Belongs to the thread that registers and releases.
    """

    def __init__(self) -> None:
        read, self._pipe = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._pipe)
            _stand_guard(read)  # does not return
        os.close(read)

    def register(self, pid: int, mark: str) -> None:
        """The session with this leader, and what has the mark, must not outlive us."""
        self._tell(f"{pid} {mark}\n")

    def release(self, pid: int) -> None:
        """It has ended; its pid may soon be another's."""
        self._tell(f"{pid}\n")

    def close(self) -> None:
        """It is needed no more: everything registered and not released is killed."""
        os.close(self._pipe)
        os.waitpid(self._pid, 0)

    def _tell(self, message: str) -> None:
        with suppress(BrokenPipeError):  # somebody killed it: we go on without
            os.write(self._pipe, message.encode())


def _stand_guard(pipe: int) -> None:
    """The second process, from its first breath to its last. Runs nothing of the first's."""
    try:
        os.setsid()  # what is sent to our terminal or our group is not for it
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        _let_go_of_all_but(pipe)
        registered: dict[int, str] = {}
        with os.fdopen(pipe) as messages:
            for message in messages:
                pid, *mark = message.split()
                if mark:
                    registered[int(pid)] = mark[0]
                else:
                    registered.pop(int(pid), None)
        for leader, its_mark in registered.items():
            kill_session(leader, its_mark)
    finally:
        os._exit(0)


def _let_go_of_all_but(pipe: int) -> None:
    """Whoever reads our output, or waits for a port of ours, must see it end with us."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, MOST_DESCRIPTORS)

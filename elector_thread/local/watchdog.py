"""A second process that kills commands when the process that supervises them no longer can.

On Linux the kernel kills a command when its supervisor dies, but not the processes that
the command has started, and it does nothing while the supervisor is only stopped. The
watchdog reads from a pipe that the supervisor alone can write to. It kills a command
when the command's deadline passes, and every command when the pipe is closed.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from math import inf

from .._state.clock import now
from .child import kill_session

__all__ = ["Watchdog"]

RESUME_DELAY = 1.0
"""Seconds for the supervisor to extend a deadline after both processes were paused."""


class Watchdog:
    """The supervisor's side. The constructor forks, so create it before any thread starts.

    Used by one thread only. A command is known by its mark: an entry ``NAME=value`` of
    its environment, without whitespace, that no other command has.
    """

    def __init__(self) -> None:
        read, self._pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _run(read)  # does not return
        os.close(read)
        os.set_blocking(self._pipe, False)

    def watch(self, mark: str, pid: int | None = None, until: float = inf) -> None:
        """Kill the command with this mark at ``until``, or when this process ends.

        pid: the leader of the command's session; None if it is about to start.
        until: an instant of `now`. Call again to replace it.
        """
        self._send(f"{mark} {pid or 0} {until!r}")

    def release(self, mark: str) -> None:
        """The command has ended. Its pid may soon belong to another process."""
        self._send(mark)

    def has_died(self) -> bool:
        """Whether the watchdog was killed; True only once."""
        if not self.pid or os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            return False
        self.pid = 0
        return True

    def close(self) -> None:
        """Kill the commands that were not released, and end the watchdog."""
        os.close(self._pipe)
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)  # in case it was stopped
            os.waitpid(self.pid, 0)
            self.pid = 0

    def _send(self, message: str) -> None:
        # A broken pipe: `has_died` reports it. A full one: the watchdog is stopped, and
        # the supervisor must not block.
        with suppress(OSError):
            os.write(self._pipe, f"{message}\n".encode())


def _run(pipe: int) -> None:
    """The forked process. Never returns."""
    try:
        os.setsid()  # a signal to our terminal or process group must not reach it
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with suppress(OSError, ValueError):  # reserved by the C library
                signal.signal(number, signal.SIG_IGN)
        _close_inherited(keep=pipe)
        _loop(pipe)
    finally:
        os._exit(0)


def _close_inherited(keep: int) -> None:
    """Close what was inherited: readers of our output and peers of our sockets see our end."""
    devnull = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(devnull, standard)
    for descriptor in [int(name) for name in os.listdir("/dev/fd")]:  # noqa: PTH208 - only names
        if descriptor > 2 and descriptor != keep:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(descriptor)


def _loop(pipe: int) -> None:
    watched: dict[str, tuple[int | None, float]] = {}  # by mark: pid and deadline
    rest = b""
    while True:
        deadline = min((until for _, until in watched.values()), default=inf)
        if _readable(pipe, max(0.0, deadline - now())) or _readable(pipe, RESUME_DELAY):
            chunk = os.read(pipe, 65536)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                _apply(line.decode(), watched)
        else:
            _kill_overdue(watched)
    for mark, (pid, _) in watched.items():
        kill_session(pid, mark)


def _readable(pipe: int, seconds: float) -> bool:
    return bool(select.select([pipe], [], [], None if seconds == inf else seconds)[0])


def _apply(message: str, watched: dict[str, tuple[int | None, float]]) -> None:
    mark, *command = message.split()
    if command:
        watched[mark] = int(command[0]) or None, float(command[1])
    else:
        watched.pop(mark, None)


def _kill_overdue(watched: dict[str, tuple[int | None, float]]) -> None:
    """Kill commands whose deadline has passed. They stay watched until they are released."""
    for mark, (pid, until) in watched.items():
        if until <= now():
            kill_session(pid, mark)
            watched[mark] = pid, inf

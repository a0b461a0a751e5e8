"""The sentinel: a second process that ends the command when its supervisor no longer can.

The kernel kills the command itself when the supervisor dies, but not what the command
has started; and it does nothing at all while the supervisor is merely stopped. The
sentinel is told, twice a second, until when the command may live. It kills the command's
session when that time passes, and when the supervisor is gone.

Forked before there is any thread; a few lines that wait on a pipe.
"""

from __future__ import annotations

import os
import select
import signal
import struct
from contextlib import suppress
from math import inf

from .._state.clock import now
from ..child import kill_session

__all__ = ["Sentinel"]

MESSAGE = struct.Struct("=qd")  # the session (0: none), and the instant by which it must be gone

UNBORN = 2**31 - 1
"""Stands for the session of a command that is just being started. No pid is as large."""

PATIENCE = 1.0
"""Seconds for the supervisor to speak up after both were paused together."""


class Sentinel:
    """The supervisor's end of it. Belongs to the main thread.

    mark: an entry of the command's environment that no other process has, by which its
        descendants are found (Linux).
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._pid = 0
        self._pipe = -1

    def start(self) -> None:
        """Fork it. Call before any thread is started."""
        read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _be_sentinel(read, self._mark)  # does not return
        os.close(read)
        os.set_blocking(write, False)
        self._pipe = write

    @property
    def pid(self) -> int:
        """Its pid; 0 if there is none (any more)."""
        return self._pid

    def expect(self, until: float) -> None:
        """A command is about to start; it may run before we know its pid."""
        self.guard(UNBORN, until)

    def guard(self, command: int, until: float) -> None:
        """The command's session may live until the instant ``until``, unless told otherwise."""
        with suppress(OSError):  # dead: `is_lost` tells. Full: it is stopped, and so be it
            os.write(self._pipe, MESSAGE.pack(command, until))

    def rest(self) -> None:
        """There is no command."""
        self.guard(0, inf)

    def is_lost(self) -> bool:
        """Whether it has died; True only once."""
        if not self._pid or os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            return False
        self._pid = 0
        return True

    def stop(self) -> None:
        """The command is gone, and the supervisor is about to go."""
        os.close(self._pipe)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


def _be_sentinel(pipe: int, mark: str) -> None:
    """In the forked child: hold nothing that is not ours, then watch. Never returns."""
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nowhere, standard)
        for descriptor in [int(name) for name in os.listdir("/dev/fd")]:  # noqa: PTH208 - names are all
            if descriptor > 2 and descriptor != pipe:
                with suppress(OSError):  # the listing's own
                    os.close(descriptor)
        _watch(pipe, mark)
    finally:
        os._exit(0)


def _watch(pipe: int, mark: str) -> None:
    command, until = 0, inf
    while True:
        left = max(0.0, until - now())
        if not (_readable(pipe, left) or _readable(pipe, PATIENCE)):
            _kill(command, mark)
            until = inf
            continue
        message = os.read(pipe, MESSAGE.size)
        if not message:
            break
        command, until = MESSAGE.unpack(message)
    _kill(command, mark)


def _readable(pipe: int, seconds: float) -> bool:
    return bool(select.select([pipe], [], [], None if seconds == inf else seconds)[0])


def _kill(command: int, mark: str) -> None:
    """SIGKILL to the command and to whatever it has started."""
    if command:
        kill_session(command, mark)

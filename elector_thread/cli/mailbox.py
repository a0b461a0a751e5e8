"""Signals and wake-ups as messages on a pipe, so that one loop can take them in turn.

No signal is acted upon where it arrives: the handler does nothing, and the number waits
in the pipe until the loop reads it.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType

__all__ = ["WAKE_UP", "Mailbox"]

WAKE_UP = 0
"""What `Mailbox.poke` leaves: look around, something has changed."""

UNTOUCHED = {
    "SIGKILL",
    "SIGSTOP",  # cannot be caught
    "SIGSEGV",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
    "SIGTRAP",
    "SIGSYS",
    "SIGSTKFLT",
    "SIGABRT",  # about this very process
    "SIGPIPE",
    "SIGXFSZ",
    "SIGXCPU",  # likewise
}


class Mailbox:
    """Takes over every signal that somebody may send on purpose.

    Belongs to the main thread, but for `poke`, which any thread may call. A signal that
    was ignored when we started (``nohup``, a job in the background) stays ignored, for
    the command too.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def open(self) -> None:
        """From now on signals are messages."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in signal.valid_signals():
            ignored = signal.getsignal(number) is signal.SIG_IGN
            if _name(number) in UNTOUCHED or (ignored and number != signal.SIGCHLD):
                continue  # SIGCHLD, ignored, would take every exit code from us
            with suppress(OSError, ValueError):  # the C library keeps some for itself
                signal.signal(number, _leave_it_to_the_pipe)

    def poke(self) -> None:
        """Wake the loop. From any thread; never blocks."""
        with suppress(OSError):  # full: it will wake anyway
            os.write(self._write, bytes([WAKE_UP]))

    def wait(self, seconds: float | None) -> list[int]:
        """What has arrived, oldest first; waits at most ``seconds`` for something to arrive."""
        select.select([self._read], [], [], seconds)
        with suppress(BlockingIOError):
            return list(os.read(self._read, 4096))
        return []


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def _leave_it_to_the_pipe(_: int, __: FrameType | None) -> None:
    """The interpreter has put the number into the pipe already."""

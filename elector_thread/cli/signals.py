"""Signals as messages on a pipe, so that one loop can handle them in turn."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType

__all__ = ["WAKE_UP", "SignalPipe", "ending_signals"]

WAKE_UP = 0
"""The message that `SignalPipe.wake` leaves."""

CANNOT_BE_CAUGHT = {"SIGKILL", "SIGSTOP"}
OWN_ERRORS = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGSTKFLT", "SIGABRT"}
OWN_LIMITS = {"SIGPIPE", "SIGXFSZ", "SIGXCPU"}
NOT_HANDLED = CANNOT_BE_CAUGHT | OWN_ERRORS | OWN_LIMITS


class SignalPipe:
    """Receives every signal that another process may send on purpose.

    Used by the main thread, except for `wake`. A signal that was ignored when this process
    started (``nohup``, a background job) stays ignored, also for its children.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def open(self) -> None:
        """Start to receive signals."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in signal.valid_signals():
            ignored = signal.getsignal(number) is signal.SIG_IGN
            if _name(number) in NOT_HANDLED or (ignored and number != signal.SIGCHLD):
                continue  # while SIGCHLD is ignored, children have no exit codes
            with suppress(OSError, ValueError):  # reserved by the C library
                signal.signal(number, _do_nothing)

    def wake(self) -> None:
        """Make `wait` return. May be called from any thread; never blocks."""
        with suppress(OSError):  # full, so `wait` returns anyway
            os.write(self._write, bytes([WAKE_UP]))

    def wait(self, seconds: float | None) -> list[int]:
        """The messages that have arrived, oldest first; waits up to ``seconds`` for the first."""
        select.select([self._read], [], [], seconds)
        with suppress(BlockingIOError):
            return list(os.read(self._read, 4096))
        return []


def ending_signals() -> set[int]:
    """The signals that end the run. SIGHUP only on a terminal; elsewhere it means "reload"."""
    terminal = any(os.isatty(number) for number in range(3))
    hangup = {signal.SIGHUP} if terminal else set()
    return {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT} | hangup


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def _do_nothing(_: int, __: FrameType | None) -> None:
    """The interpreter has already written the number to the pipe."""

"""Speaking without ever waiting: lines for stderr, written by a thread of their own.

Whoever reads our stderr may stop reading. A supervisor that is blocked on a full pipe
cannot end its command, so it never writes itself; what does not fit is left out.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from queue import Full, Queue
from threading import Thread

from . import console

__all__ = ["Voice"]

PATIENCE = 0.5
"""Seconds that the end waits for the last lines to be written."""


class Voice(logging.Handler):
    """Lines for stderr; as a log handler, also those of the library."""

    def __init__(self, prefix: str, *, quiet: bool = False) -> None:
        super().__init__(logging.WARNING)
        self._prefix = prefix
        self._quiet = quiet
        self._lines: Queue[bytes | None] = Queue(maxsize=200)
        self._thread = Thread(target=self._write, name="elector-voice", daemon=True)

    def start(self) -> None:
        """Begin to write, also what the library logs."""
        logging.getLogger("elector_thread").addHandler(self)
        self._thread.start()

    def say(self, text: str) -> None:
        """One line, unless told to be quiet. Never blocks."""
        if not self._quiet:
            self._put(text)

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the library's log."""
        self._put(self.format(record))

    def finish(self) -> None:
        """Wait a moment for the last lines."""
        with suppress(Full):
            self._lines.put(None, timeout=PATIENCE)
        self._thread.join(PATIENCE)

    def _put(self, text: str) -> None:
        line = f"{self._prefix}: {console.one_line(text)}\n"
        with suppress(Full):
            self._lines.put_nowait(line.encode("utf-8", "backslashreplace"))

    def _write(self) -> None:
        # a line from the background must not stop the process (stty tostop)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        with suppress(OSError):  # closed: nobody wants to hear it
            while (line := self._lines.get()) is not None:
                os.write(2, line)

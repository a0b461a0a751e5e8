"""Lines for stderr that never make the caller wait, even if stderr is a full pipe."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from queue import Full, Queue
from threading import Thread

from .terminal import one_line

__all__ = ["BackgroundStderr"]

MAX_LINES = 200
"""Lines that may wait to be written; more are dropped."""

FLUSH_TIMEOUT = 0.5
"""Seconds to write the last lines."""


class BackgroundStderr(logging.Handler):
    """Writes lines, and warnings of the library's log, in a thread of its own."""

    def __init__(self, prefix: str, *, quiet: bool = False) -> None:
        super().__init__(logging.WARNING)
        self._prefix = prefix
        self._quiet = quiet
        self._lines: Queue[bytes | None] = Queue(MAX_LINES)
        self._thread = Thread(target=self._write, name="elector-stderr", daemon=True)

    def start(self) -> None:
        """Start the thread, and receive the library's log."""
        logging.getLogger("elector_thread").addHandler(self)
        self._thread.start()

    def say(self, text: str) -> None:
        """Write one line, unless ``quiet``."""
        if not self._quiet:
            self._put(text)

    def warn(self, text: str) -> None:
        """Write one line, also if ``quiet``."""
        self._put(text)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line of the library's log."""
        self._put(self.format(record))

    def finish(self) -> None:
        """Wait for the last lines, at most `FLUSH_TIMEOUT`."""
        with suppress(Full):
            self._lines.put(None, timeout=FLUSH_TIMEOUT)
        self._thread.join(FLUSH_TIMEOUT)

    def _put(self, text: str) -> None:
        line = f"{self._prefix}: {one_line(text)}\n"
        with suppress(Full):
            self._lines.put_nowait(line.encode("utf-8", "backslashreplace"))

    def _write(self) -> None:
        # with `stty tostop`, writing from the background would stop the process
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        with suppress(OSError):  # closed by its reader
            while (line := self._lines.get()) is not None:
                os.write(2, line)

"""Reports the state of this process's electors to the page of a local elector.

Used where ``ELECTOR_THREAD_REPORT_URL`` is set, which `elector_thread.local` does for the
replicas that it knows. Needs no extra.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # every look-up needs it; a fork must not meet its import
import json
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from queue import Empty, SimpleQueue
from typing import Protocol
from urllib.parse import urlsplit

from .._state.model import Status

__all__ = ["Reporter"]


class Reported(Protocol):
    """What is reported on: an `elector_thread.Elector`."""

    def status(self) -> Status:
        """See `Elector.status`."""


INTERVAL = 1.0
"""Seconds between two reports if nothing happens, so that the page notices a frozen process."""

TIMEOUT = 1.0
"""Seconds for one report."""


class Reporter:
    """Reports every running elector of this process, at each event and every second.

    electors: returns the electors of this process.
    """

    # `observe` takes no lock, since a signal handler may interrupt it and call it again:
    # SimpleQueue.put is reentrant, and dict.setdefault is atomic. A forked child finds no
    # entry for its process id, so it never touches what it inherited.

    def __init__(self, electors: Callable[[], Iterable[Reported]]) -> None:
        self._electors = electors
        self._threads: dict[int, ReporterThread] = {}  # by process id

    def observe(self, event: object) -> None:  # noqa: ARG002  # any event means the same
        """Something happened to an elector: report soon, on the thread ``elector-report``."""
        pid = os.getpid()
        thread = self._threads.get(pid)
        if thread is None:
            thread = self._threads.setdefault(pid, ReporterThread(self._electors))
        thread.wake()


class ReporterThread:
    """The reporting thread of one process. It ends while no elector runs."""

    def __init__(self, electors: Callable[[], Iterable[Reported]]) -> None:
        self._electors = electors
        self._address = report_address(os.environ.get("ELECTOR_THREAD_REPORT_URL", ""))
        self._events: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()  # held as long as the thread runs

    def wake(self) -> None:
        """Report soon; starts the thread if it does not run."""
        if self._address is None:
            return
        self._events.put(None)
        if self._lock.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="elector-report", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter exits
                self._lock.release()

    def _run(self) -> None:
        running = True
        while running:
            self._report_while_electors_run()
            self._lock.release()
            # An event that came just before the release must not be lost.
            running = not self._events.empty() and self._lock.acquire(blocking=False)

    def _report_while_electors_run(self) -> None:
        while True:
            self._take_events()
            reports = [_report(elector) for elector in self._electors() if elector.status().running]
            if not reports:
                return
            for report in reports:
                self._send(report)
            with suppress(Empty):
                self._events.get(timeout=INTERVAL)

    def _take_events(self) -> None:
        while not self._events.empty():
            self._events.get()

    def _send(self, report: bytes) -> None:
        assert self._address is not None, "the thread runs only with an address"
        host, port, target = self._address
        connection = HTTPConnection(host, port, timeout=TIMEOUT)
        with closing(connection), suppress(OSError, HTTPException):  # the page may be gone
            connection.request("POST", target, report, {"Content-Type": "application/json"})
            connection.getresponse().read()


def report_address(url: str) -> tuple[str, int, str] | None:
    """Host, port and target of a URL; None unless it is http on this machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        return None
    if parts.scheme != "http" or host not in ("localhost", "127.0.0.1", "::1"):
        return None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port, target


def _report(elector: Reported) -> bytes:
    status = elector.status()
    view = {
        "identity": status.identity,
        "state": status.state.value,
        "leader": status.leader,
        "pid": os.getpid(),
    }
    return json.dumps(view).encode()

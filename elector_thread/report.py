"""The report thread: tells the local elector's page what this process believes.

Only for local work, and only where ``ELECTOR_THREAD_REPORT_URL`` is set; in a pod
this thread does not exist. It reads the cell and owns nothing.
"""

from __future__ import annotations

import json
import os

from .cell import Cell
from .clock import Flag, now
from .rules import deadline, leader_at, state_at
from .sidecar import Sidecar

__all__ = ["Report"]

INTERVAL = 1.0
"""Most seconds between two reports: whoever is frozen is missed soon."""


class Report:
    """Everything the report thread does; `run` is its body. A change of the cell wakes it."""

    def __init__(self, sidecar: Sidecar, cell: Cell, stopping: Flag) -> None:
        self._sidecar = sidecar
        self._cell = cell
        self._stopping = stopping

    def run(self) -> None:
        """Report at every change and every second, until told to stop."""
        while not self._stopping.is_set():
            version = self._cell.version
            self._sidecar.report(self._view())
            self._cell.wait_beyond(version, self._due())

    def _due(self) -> float:
        """When to report next if nothing happens: within the interval, at an expiry if it comes.

        One that has come already was told; the cell may note it much later, since a
        slow callback keeps the dispatch thread.
        """
        instant, expiry = now(), deadline(self._cell.snapshot)
        return expiry if instant < expiry < instant + INTERVAL else instant + INTERVAL

    def _view(self) -> bytes:
        snapshot, instant = self._cell.snapshot, now()
        view = {
            "identity": snapshot.identity,
            "state": state_at(snapshot, instant).value,
            "leader": leader_at(snapshot, instant),
            "pid": os.getpid(),
        }
        return json.dumps(view).encode()

"""One replica: its sidecar, what it reports about itself, and its process where it is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .faults import FaultError
from .sidecar_server import SidecarServer

__all__ = ["ProcessHook", "ProcessHooks", "Replica", "ReportError", "call_hook"]

SILENT_AFTER = 2.5
"""Seconds without a report after which a replica is silent. It reports every second."""

STATES = ("leader", "follower", "unknown")
"""The first of these that any process of a replica reports is the replica's state."""

ProcessHook = Callable[[str], object]


class ReportError(ValueError):
    """A report is malformed. The message says what was expected."""


@dataclass(frozen=True, slots=True)
class ProcessHooks:
    """How to act on a replica's process, by the replica's name."""

    freeze: ProcessHook | None = None
    thaw: ProcessHook | None = None
    kill: ProcessHook | None = None


async def call_hook(hook: ProcessHook | None, name: str) -> None:
    """Call a hook on a worker thread. Raises `FaultError` if it fails."""
    if hook is None:
        return
    try:
        await asyncio.to_thread(hook, name)
    except Exception as error:  # the hook is the caller's code
        failure = f"{type(error).__name__}: {error}"
        raise FaultError(f"the process of {name} could not be reached ({failure})") from error


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The latest report of one process; `time` in seconds since the local elector's start."""

    state: str
    leader: str | None
    time: float


@dataclass(slots=True)
class Replica:
    """One live replica.

    key: allows it to report its own state, and nothing else.
    shown: its state and leader as last recorded in the history.
    isolated: whether its sidecar is cut off from elections.
    """

    name: str
    sidecar: SidecarServer
    key: str = field(repr=False)
    started: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds")
    )
    reports: dict[int, ProcessReport] = field(default_factory=dict)  # by pid: it may fork workers
    shown: tuple[str | None, str | None] = (None, None)
    isolated: bool = False
    frozen: bool = False

    def add_report(self, report: dict[str, Any], now: float) -> None:
        """Store what one of its processes reports. Raises `ReportError`."""
        state, leader, pid = report.get("state"), report.get("leader"), report.get("pid")
        if state not in STATES:
            raise ReportError(f"state: expected one of {', '.join(STATES)}")
        if not (leader is None or (isinstance(leader, str) and len(leader) <= 253)):
            raise ReportError("leader: expected a name or null")
        if not isinstance(pid, int):
            raise ReportError("pid: expected a number")
        self.reports[pid] = ProcessReport(state, leader, now)

    def reported(self, now: float) -> tuple[str | None, str | None]:
        """Its state and the leader that it knows.

        The state is one of `STATES`, ``silent``, or None if there was never a report.
        """
        if not self.reports:
            return None, None
        recent = [one for one in self.reports.values() if now - one.time <= SILENT_AFTER]
        if not recent:
            return "silent", None
        first = min(recent, key=lambda report: STATES.index(report.state))
        return first.state, first.leader

    def as_dict(self, now: float, *, alive: bool = True) -> dict[str, Any]:
        """For the page and the control HTTP API."""
        state, leader = self.reported(now) if alive else (None, None)
        last = max((report.time for report in self.reports.values()), default=None)
        return {
            "name": self.name,
            "started": self.started,
            "alive": alive,
            "frozen": self.frozen and alive,
            "isolated": self.isolated and alive,
            "state": state,
            "says_leader": leader,
            "last_report_age": None if last is None else round(now - last, 1),
            "streams": self.sidecar.streams if alive else 0,
            "gets": self.sidecar.gets,
            "lease_gets": self.sidecar.api.gets,
            "get_url": self.sidecar.get_url,
        }

"""What each replica believes, as it reports over its own connection, compared with the truth.

Pure bookkeeping: instants come in with every call. Knows neither sockets nor faces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

__all__ = ["SILENT_AFTER", "Discord", "ReportError", "View", "Views", "discord"]

SILENT_AFTER = 2.5
"""Seconds without a report after which a replica counts as silent. It reports every second."""

FORGOTTEN_AFTER = 30.0
"""Seconds after which a process that is silent, in a replica that is not, is taken for gone."""

STATES = ("leader", "follower", "unknown")  # the first one that any process claims counts


class ReportError(ValueError):
    """A report that makes no sense. The message says what was expected."""


@dataclass(frozen=True, slots=True)
class View:
    """What one process said: its state, whom it takes for the leader, and when it said so."""

    state: str
    leader: str | None
    at: float


@dataclass(slots=True)
class Views:
    """All that one replica reports; several processes of it may (forked workers)."""

    _by_process: dict[int, View] = field(default_factory=dict)

    def take(self, report: Any, instant: float) -> None:
        """Take in one report. Raises `ReportError`."""
        if not isinstance(report, dict):
            raise ReportError("expected a JSON object")
        state, leader, pid = report.get("state"), report.get("leader"), report.get("pid")
        if state not in STATES:
            raise ReportError(f"state: expected one of {', '.join(STATES)}")
        if not (leader is None or (isinstance(leader, str) and len(leader) <= 253)):
            raise ReportError("leader: expected a name or null")
        if not isinstance(pid, int) or isinstance(pid, bool):
            raise ReportError("pid: expected a number")
        self._by_process[pid] = View(state, leader, instant)
        for known, view in list(self._by_process.items()):
            if instant - view.at > FORGOTTEN_AFTER:
                del self._by_process[known]

    def age(self, instant: float) -> float | None:
        """Seconds since the last report, None if there never was one."""
        last = max((view.at for view in self._by_process.values()), default=-inf)
        return None if last == -inf else instant - last

    def at(self, instant: float) -> tuple[str | None, str | None]:
        """The state to show and the leader that goes with it.

        A state is one of `STATES`, ``silent``, or None for a replica that does not report.
        """
        if not self._by_process:
            return None, None
        fresh = [v for v in self._by_process.values() if instant - v.at <= SILENT_AFTER]
        if not fresh:
            return "silent", None
        best = min(fresh, key=lambda view: STATES.index(view.state))
        return best.state, best.leader


@dataclass(frozen=True, slots=True)
class Discord:
    """Somebody claims to lead who does not. text: what is wrong, for people; replicas: who."""

    text: str
    replicas: tuple[str, ...]


def discord(truth: str | None, claimants: Iterable[str]) -> Discord | None:
    """What is wrong with who claims to lead; None if nothing is."""
    names = tuple(claimants)
    wrong = tuple(name for name in names if name != truth)
    if not wrong:
        return None
    elected = f"{truth} was elected" if truth else "nobody is elected"
    claim = f"{wrong[0]} claims" if len(names) == 1 else f"{len(names)} claim"
    listed = "" if len(names) == 1 else f": {', '.join(names)}"
    return Discord(f"{claim} to lead{listed}; {elected}", wrong)

"""Finds out when replicas other than the leader claim to be the leader.

Runs on the local elector's event loop, so it needs no lock.
"""

from __future__ import annotations

from typing import Any

from .history import History

__all__ = ["DisagreementMonitor", "disagreement"]

DISAGREEMENT_AFTER = 0.4
"""Seconds before a disagreement counts: a new result takes a moment to arrive."""


class DisagreementMonitor:
    """Records in the history when a disagreement begins, changes and ends.

    ``current`` is the latest result of `disagreement` that was recorded.
    """

    def __init__(self, history: History) -> None:
        self.current: dict[str, Any] | None = None
        self._history = history
        self._since: float | None = None

    def update(self, leader: str | None, claimants: list[str]) -> None:
        """Compare the elected leader with the replicas that report to lead now."""
        now = self._history.now()
        found = disagreement(leader, claimants)
        if found is None:
            self._since = None
        elif self._since is None:
            self._since = now
        since = self._since
        if found == self.current or (since is not None and now - since < DISAGREEMENT_AFTER):
            return
        self.current = found
        entry = found or {"text": None, "replicas": []}
        self._history.add("disagreement", since=since, **entry)


def disagreement(leader: str | None, claimants: list[str]) -> dict[str, Any] | None:
    """Whether other replicas than the leader report to lead: ``text`` and ``replicas``."""
    wrong = [name for name in claimants if name != leader]
    if not wrong:
        return None
    names = " and ".join(filter(None, (", ".join(claimants[:-1]), claimants[-1])))
    claim = f"{names} claim{'s' if len(claimants) == 1 else ''} to be the leader"
    elected = f"the elected leader is {leader}" if leader else "no leader is elected"
    return {"text": f"{claim}; {elected}", "replicas": wrong}

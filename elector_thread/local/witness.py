"""Watches what replicas report, notes every change of it, and says when it contradicts the truth.

Lives on one event loop, so needs no lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .chronicle import Chronicle
from .replica import Replica
from .views import Discord, discord

__all__ = ["Witness"]

DISCORD_LASTS = 0.4
"""Seconds for which two may contradict each other before it is worth a word: news travels."""


class Witness:
    """Look at the replicas after every report, and every now and then, since silence is news."""

    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle
        self._discord: Discord | None = None  # the one that was told
        self._since: float | None = None  # since when there is one

    @property
    def discord(self) -> dict[str, Any] | None:
        """The contradiction that lasts: its ``text`` and the ``replicas`` that are wrong."""
        return _shown(self._discord) if self._discord else None

    def look(self, replicas: Iterable[Replica], truth: str | None) -> None:
        """Compare what the replicas say with what they said, and with the truth."""
        claimants = []
        for replica in replicas:
            self._look_at(replica)
            if replica.shown[0] == "leader":
                claimants.append(replica.name)
        self._judge(discord(truth, claimants), self._chronicle.now())

    def _look_at(self, replica: Replica) -> None:
        shown = replica.views.at(self._chronicle.now())
        if shown != replica.shown:
            replica.shown = shown
            self._chronicle.note("view", replica=replica.name, state=shown[0], leader=shown[1])

    def _judge(self, found: Discord | None, instant: float) -> None:
        if found is None:
            self._since = None
        elif self._since is None:
            self._since = instant
        if self._since is not None and instant - self._since < DISCORD_LASTS:
            return
        if found == self._discord:
            return
        self._discord = found
        began = {} if self._since is None else {"since": round(self._since, 3)}
        told = _shown(found) if found else {"text": None, "replicas": []}
        self._chronicle.note("discord", **told, **began)


def _shown(found: Discord) -> dict[str, Any]:
    return {"text": found.text, "replicas": list(found.replicas)}

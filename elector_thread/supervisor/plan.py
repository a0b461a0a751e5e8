"""What a deployment is told: what to run, and beside which elector. Values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Cluster", "CommandFailed", "Plan", "Sidecar"]


class CommandFailed(Exception):
    """The command cannot be run at all; the message says why."""


class Sidecar(Protocol):
    """What a replica has beside it."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables that the platform sets for the replica."""


class Cluster(Protocol):
    """What a deployment needs of the elector: to be told who lives. Who leads is its decision."""

    def add_replica(self, name: str, /) -> Sidecar:
        """A replica is about to start."""

    def remove_replica(self, name: str, /) -> object:
        """A replica is gone for good; if it led, the oldest of the others leads now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    grace: seconds between SIGTERM and SIGKILL.
    rolling: seconds between one replacement and the next, None for no replacements.
    """

    command: Sequence[str]
    app: str = "app"
    replicas: int = 3
    restart: bool = False
    rolling: float | None = None
    grace: float = 5.0

"""The faults that the local elector can inject."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

__all__ = ["Fault", "FaultError", "FaultKind", "check_fault"]

MAX_SECONDS = 24 * 3600.0
RESTART_SECONDS = 3.0
"""How long a restart of a sidecar takes by default."""


class FaultError(ValueError):
    """A fault cannot be injected. The message says what was expected and what was found."""


class FaultKind(Enum):
    """A kind of fault: its name, its group on the page, its label and its effect."""

    FREEZE = ("freeze", "Replica", "Freeze replica", "SIGSTOP until the fault ends, then SIGCONT")
    KILL = ("kill", "Replica", "Kill replica", "SIGKILL; if it leads, the next oldest takes over")
    SPLIT = ("split", "Replica", "Isolate replica", "outdated sidecar, API server out of reach")
    HANG = ("hang", "Answers", "Hang GET", "GETs stay unanswered until the fault ends")
    ERROR = ("error", "Answers", "Answer 500", "HTTP 500 for GETs and new streams")
    HTML = ("html", "Answers", "Answer HTML", "a proxy's web page for GETs and new streams")
    GARBAGE = ("garbage", "Answers", "Answer garbage", "answers and events are not valid JSON")
    EMPTY = ("empty", "Answers", "Answer {}", "answers and events as before the first election")
    MUTE = ("mute", "Streams", "Mute streams", "streams stay open but carry no events")
    DROP = ("drop", "Streams", "Drop streams", "open streams end; with a duration, new ones too")
    RESET = ("reset", "Streams", "Reset streams", "like drop, but by a TCP reset")
    REFUSE = ("refuse", "Sidecar", "Refuse connections", "connections end; new ones are refused")
    RESTART = ("restart", "Sidecar", "Restart sidecar", "refused, then {}, then the name again")
    LEASE_REFUSE = ("lease-refuse", "API server", "API server away", "connections are refused")
    LEASE_HANG = ("lease-hang", "API server", "API server hangs", "requests stay unanswered")
    LEASE_500 = ("lease-500", "API server", "API server answers 500", "an internal error")
    LEASE_429 = ("lease-429", "API server", "API server answers 429", "too many requests")
    LEASE_403 = ("lease-403", "API server", "API server answers 403", "the RoleBinding is missing")
    LEASE_401 = (
        "lease-401",
        "API server",
        "API server answers 401",
        "once, as for an expired token; with a duration, to every request",
    )

    def __init__(self, word: str, group: str, label: str, effect: str) -> None:
        self.word = word
        self.group = group
        self.label = label
        self.effect = effect

    @property
    def takes_seconds(self) -> bool:
        """Whether it lasts; killing a process does not."""
        return self is not FaultKind.KILL

    @property
    def needs_replica(self) -> bool:
        """Whether it cannot apply to all replicas at once."""
        return self is FaultKind.SPLIT

    @property
    def needs_process(self) -> bool:
        """Whether it acts on the replica's process instead of its sidecar."""
        return self in (FaultKind.FREEZE, FaultKind.KILL)

    def as_dict(self) -> dict[str, Any]:
        """For the page and the control HTTP API."""
        return {
            "kind": self.word,
            "group": self.group,
            "label": self.label,
            "effect": self.effect,
            "takes_seconds": self.takes_seconds,
            "needs_replica": self.needs_replica,
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """One active fault.

    replica: the one that it applies to; None for all.
    since: when it began, in seconds since the local elector's start.
    seconds: how long it lasts; None until it is cleared.
    """

    number: int
    kind: FaultKind
    replica: str | None
    since: float
    seconds: float | None

    @property
    def happens_once(self) -> bool:
        """Whether it is over as soon as it was applied."""
        once = (FaultKind.DROP, FaultKind.RESET, FaultKind.LEASE_401)
        return (self.kind in once and self.seconds is None) or not self.kind.takes_seconds

    def remaining(self, now: float) -> float | None:
        """Seconds until it ends; None if it lasts until it is cleared."""
        return None if self.seconds is None else max(0.0, self.since + self.seconds - now)

    def effect(self, now: float) -> FaultKind:
        """What a sidecar does at this time: a restart has two phases, other faults one."""
        if self.kind is not FaultKind.RESTART or self.seconds is None:
            return self.kind
        listening = now >= self.since + self.seconds / 2
        return FaultKind.EMPTY if listening else FaultKind.REFUSE

    def applies_to(self, replica: str | None) -> bool:
        """Whether it affects that replica (None: the sidecar that belongs to no replica)."""
        return self.replica in (None, replica)

    def matches(self, kind: FaultKind | None, replica: str | None) -> bool:
        """Whether its kind and replica are these; None matches any."""
        return kind in (None, self.kind) and replica in (None, self.replica)

    def as_dict(self, now: float) -> dict[str, Any]:
        """For the page and the control HTTP API."""
        left = self.remaining(now)
        return {
            "id": self.number,
            "kind": self.kind.word,
            "label": self.kind.label,
            "replica": self.replica,
            "seconds": self.seconds,
            "remaining": None if left is None else round(left, 1),
        }


def check_fault(word: object, seconds: object = None) -> tuple[FaultKind, float | None]:
    """The kind of that name and the duration, with its default. Raises `FaultError`."""
    kind = next((kind for kind in FaultKind if kind.word == word), None)
    if kind is None:
        known = ", ".join(kind.word for kind in FaultKind)
        raise FaultError(f"kind: expected one of {known}; got {word!r}")
    if seconds is None:
        return kind, RESTART_SECONDS if kind is FaultKind.RESTART else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise FaultError(f"seconds: expected a number, got {seconds!r}")
    if not isfinite(seconds) or not 0 < seconds <= MAX_SECONDS:
        raise FaultError(f"seconds: expected more than 0, up to {MAX_SECONDS:g}; got {seconds!r}")
    if not kind.takes_seconds:
        raise FaultError(f"seconds: {kind.word} takes no duration")
    return kind, float(seconds)

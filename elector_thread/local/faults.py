"""The faults that can be made on purpose: what each means, and which are on right now.

Values and bookkeeping; what a fault *does* to a client is the face's business, what
it does to a process that of the hooks. Nothing is on unless somebody asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

__all__ = ["Fault", "FaultError", "Kind", "checked"]

LONGEST = 24 * 3600.0
"""Seconds: nobody means a longer fault."""

RESTART_TAKES = 3.0
"""Seconds that a restarted sidecar needs, unless told otherwise."""


class FaultError(ValueError):
    """A fault that cannot be made. The message says what was expected and what came."""


class Kind(Enum):
    """Every fault: its name on the wire, what it strikes, its button's words, what it does."""

    HANG = ("hang", "Answers", "Hang GET", "GETs stay unanswered until it is over")
    ERROR = ("error", "Answers", "Answer 500", "to GETs and to new streams")
    HTML = ("html", "Answers", "Answer HTML", "to GETs and new streams, as a proxy in the way")
    GARBAGE = ("garbage", "Answers", "Answer garbage", "answers and events cannot be read")
    EMPTY = ("empty", "Answers", "Answer {}", "as before the first election, in events too")
    MUTE = ("mute", "Streams", "Go mute", "streams stay open, every event is lost")
    DROP = ("drop", "Streams", "Drop streams", "open ones end; with seconds, new ones too")
    RESET = ("reset", "Streams", "Reset streams", "as drop, but with a TCP reset")
    REFUSE = ("refuse", "Sidecar", "Refuse connections", "all end, and new ones are refused")
    RESTART = ("restart", "Sidecar", "Restart sidecar", "refused at first, then {}, then the name")
    FREEZE = ("freeze", "Replica", "Freeze replica", "SIGSTOP: it stands still until it is over")
    KILL = ("kill", "Replica", "Kill replica", "SIGKILL: if it leads, the next oldest will")
    SPLIT = ("split", "Replica", "Isolate replica", "it is told an outdated leader: split brain")

    def __init__(self, word: str, group: str, label: str, effect: str) -> None:
        self.word = word
        self.group = group
        self.label = label
        self.effect = effect

    @property
    def at_once(self) -> bool:
        """Over as soon as it is done: it takes no seconds."""
        return self is Kind.KILL

    @property
    def needs_replica(self) -> bool:
        """Means nothing without a replica."""
        return self is Kind.SPLIT

    @property
    def hits_process(self) -> bool:
        """Done to the replica's process, not to its sidecar."""
        return self in (Kind.FREEZE, Kind.KILL)

    def as_dict(self) -> dict[str, Any]:
        """For the page and the command line."""
        return {
            "kind": self.word,
            "group": self.group,
            "label": self.label,
            "effect": self.effect,
            "takes_seconds": not self.at_once,
            "needs_replica": self.needs_replica,
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that is on.

    replica: whom it hits; None for all. since: when it began, in seconds since the
    local elector's start. seconds: how long it lasts; None until it is cleared.
    """

    number: int
    kind: Kind
    replica: str | None
    since: float
    seconds: float | None

    def hits(self, replica: str | None) -> bool:
        """Whether it concerns that replica's face (None: the plain one)."""
        return self.replica is None or self.replica == replica

    def matches(self, kind: Kind | None, replica: str | None) -> bool:
        """Whether `clear` means it; what is None there means any."""
        return kind in (None, self.kind) and replica in (None, self.replica)

    def as_dict(self, instant: float) -> dict[str, Any]:
        """For the page and the command line."""
        left = None if self.seconds is None else max(0.0, self.since + self.seconds - instant)
        return {
            "id": self.number,
            "kind": self.kind.word,
            "label": self.kind.label,
            "replica": self.replica,
            "seconds": self.seconds,
            "remaining": None if left is None else round(left, 1),
        }


def checked(word: object, seconds: object) -> tuple[Kind, float | None]:
    """The kind and the seconds that somebody asked for. Raises `FaultError`."""
    kind = kind_of(word)
    if seconds is None:
        return kind, RESTART_TAKES if kind is Kind.RESTART else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise FaultError(f"seconds: expected a number, got {seconds!r}")
    if not isfinite(seconds) or not 0 < seconds <= LONGEST:
        raise FaultError(f"seconds: expected more than 0 and at most {LONGEST:g}, got {seconds!r}")
    if kind.at_once:
        raise FaultError(f"{kind.word} happens once, so it takes no seconds")
    return kind, float(seconds)


def kind_of(word: object) -> Kind:
    """The kind with that name. Raises `FaultError`, naming them all."""
    for kind in Kind:
        if kind.word == word:
            return kind
    known = ", ".join(kind.word for kind in Kind)
    raise FaultError(f"kind: expected one of {known}; got {word!r}")

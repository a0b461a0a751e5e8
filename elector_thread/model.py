"""The frozen values that travel through the library. No behaviour, no clock, no threads.

Every instant here is a number of seconds on the library's own clock
(`elector_thread.clock`), which never steps back and counts the time a machine sleeps.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = [
    "Change",
    "Confirmation",
    "Counts",
    "Demoted",
    "Elected",
    "Input",
    "LeaderChange",
    "Seat",
    "Snapshot",
    "State",
    "Status",
    "Stopped",
    "Tick",
]


class State(Enum):
    """What this process may believe about itself. ``UNKNOWN`` never counts as leading."""

    LEADER = "leader"
    FOLLOWER = "follower"
    UNKNOWN = "unknown"


class LeaderChange(NamedTuple):
    """One leader followed another, ours or not.

    ``previous`` is None for the first leader learnt; ``current`` is a name, always.
    """

    previous: str | None
    current: str


# --- what the state machine remembers ------------------------------------------------


class Snapshot:
    """All that is known at one moment; replaced as a whole, never changed.

    identity: the name that means "us".
    grace: seconds for which a confirmation holds.
    leader: the last leader heard of; kept after the grace ran out, so that the
        same leader heard again is no change.
    confirmed_at: the earliest instant the newest confirmation can stem from.
    known_until: until when that confirmation holds (``-inf``: it does not).
    lead_until: ``known_until`` while it is us who leads, else ``-inf``.
    number: how many leaderships there have been; the current one's number while leading.
    exclusive: whether the pod's leadership needs the pod's one seat (``scope="process"``).
    seated: whether this process may take it up: always, unless ``exclusive``.

    Frozen by the type checker. One is made between every event and `is_leader`, which reads
    a slot of it: no dataclass is made as fast when frozen, and no named tuple read as fast.
    """

    __slots__ = (
        "confirmed_at",
        "exclusive",
        "grace",
        "identity",
        "known_until",
        "lead_until",
        "leader",
        "number",
        "seated",
    )

    def __init__(
        self,
        identity: str,
        grace: float,
        leader: str | None = None,
        confirmed_at: float = -inf,
        known_until: float = -inf,
        lead_until: float = -inf,
        number: int = 0,
        exclusive: bool = False,
        seated: bool = True,
    ) -> None:
        self.identity: Final = identity
        self.grace: Final = grace
        self.leader: Final = leader
        self.confirmed_at: Final = confirmed_at
        self.known_until: Final = known_until
        self.lead_until: Final = lead_until
        self.number: Final = number
        self.exclusive: Final = exclusive
        self.seated: Final = seated


# --- what can happen to it -----------------------------------------------------------
# (named tuples: cheap to define and to make; they are told apart by class, never compared)


class Confirmation(NamedTuple):
    """Somebody who knows named the leader.

    at: the earliest instant the word can stem from: when a GET was *sent*, when
        an event came in.
    now: the instant at which it is taken in.
    leader: the name; None only where the settings say "follow nobody in particular".
    pushed: True for news from the stream, which wins over a GET of the same instant.
    """

    leader: str | None
    at: float
    now: float
    pushed: bool = False


class Tick(NamedTuple):
    """Nothing happened but time."""

    now: float


class Seat(NamedTuple):
    """This process took (or lost) the pod's one seat (``scope="process"``)."""

    held: bool
    now: float


class Stopped(NamedTuple):
    """The elector was stopped: nothing is known any more, not even the past."""

    now: float


Input: TypeAlias = Confirmation | Tick | Seat | Stopped


# --- what follows from it ------------------------------------------------------------


class _Numbered:
    """Leadership ``number`` and what became of it. Equal only within a class, unlike tuples."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number: Final = number

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.number == self.number

    def __hash__(self) -> int:
        return hash((type(self), self.number))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number})"


class Elected(_Numbered):
    """Leadership ``number`` began."""

    __slots__ = ()


class Demoted(_Numbered):
    """Leadership ``number`` is over."""

    __slots__ = ()


Change: TypeAlias = Elected | Demoted | LeaderChange


# --- what users are shown ------------------------------------------------------------


class Counts(NamedTuple):
    """How often something happened.

    elected, demoted: leaderships begun and ended.
    answers, failures: GETs with and without a usable answer.
    streams, events, unreadable: streams opened, events read, and events that could not be.
    callback_errors, overruns: callbacks that raised, and that kept others waiting.
    """

    elected: int
    demoted: int
    answers: int
    failures: int
    streams: int
    events: int
    unreadable: int
    callback_errors: int
    overruns: int


class Status(NamedTuple):
    """One consistent look at an elector, for humans, logs and health endpoints.

    state: `State`; is_leader: the same as a bool.
    leader: the leader's name while known, else None. identity: our own name.
    running: whether `start` was called and `stop` was not.
    stream: ``"off"`` (not started, or no stream configured), ``"connecting"``,
        ``"open"``, ``"waiting"`` (between two tries) or ``"absent"`` (there is
        no stream at that address; polling alone).
    age: seconds since the newest confirmation, None before the first.
    expires_in: seconds for which it still holds, None when nothing is known or
        it holds for ever (``when_unconfigured``).
    leadership: the number of the current leadership, None when not leading.
    last_error: the newest problem in one line, None if there never was one.
    scope: ``"pod"`` or ``"process"``; seated: whether this process holds the
        pod's seat (None with scope ``"pod"``).
    alive: False when a thread of the library has died, when poll is stuck, or when a
        callback has kept the end of a leadership from being announced for longer than
        the grace period. What a liveness probe asks; says nothing about leading.
    counts: what happened since the elector was made (or since the fork).
    """

    state: State
    is_leader: bool
    leader: str | None
    identity: str
    running: bool
    stream: str
    age: float | None
    expires_in: float | None
    leadership: int | None
    last_error: str | None
    scope: str
    seated: bool | None
    alive: bool
    counts: Counts

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict of plain JSON types; ``state`` becomes its lower-case name."""
        return {
            **self._asdict(),
            "state": self.state.value,
            "counts": self.counts._asdict(),
        }

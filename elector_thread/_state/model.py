"""The frozen values that travel through the library. No behaviour, no clock, no threads.

Every instant is a number of seconds on the library's own clock (`clock.now`), which
never steps back and counts the time that the machine is suspended.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Any, Final, Literal, NamedTuple, TypeAlias

__all__ = [
    "Change",
    "Confirmation",
    "Counts",
    "Demoted",
    "Elected",
    "Input",
    "LeaderChange",
    "LeaseRead",
    "LeaseReading",
    "LockHeld",
    "PastLeadership",
    "Reason",
    "Snapshot",
    "State",
    "Status",
    "Stopped",
    "TaskStatus",
    "Tick",
    "Verification",
]


class State(Enum):
    """What this process knows about itself. ``UNKNOWN`` never counts as leading."""

    LEADER = "leader"
    FOLLOWER = "follower"
    UNKNOWN = "unknown"


Reason: TypeAlias = Literal["replaced", "expired", "unverified", "stopped"]
"""Why a leadership ended.

replaced: another leader is named, the Lease has a new term, or another process has the pod's lock.
expired: no confirmation for the grace period. unverified: the sidecar names this pod, but no
valid reading of the Lease does (``verify="lease"``). stopped: by `Elector.stop`.
"""


class LeaderChange(NamedTuple):
    """One leader followed another, this process or not.

    ``previous`` is None for the first leader; ``current`` is always a name.
    """

    previous: str | None
    current: str


# --- what the state machine remembers ------------------------------------------------


class LeaseReading(NamedTuple):
    """What the Lease said when it was read.

    at: when it was asked. holder: the name in it, None if there is no Lease.
    uid: identifies its term. fence: the term's number, which grows from term to term.
    ours: whether it names exactly this pod, by name and by UID.
    """

    at: float
    holder: str | None = None
    uid: str | None = None
    fence: int | None = None
    ours: bool = False


class Snapshot:
    """All that is known at one moment; replaced as a whole, never changed.

    identity: the name that means this process.
    grace: seconds for which a confirmation holds.
    leader: the newest leader; kept after the grace period ran out, so that hearing
        the same leader again changes nothing.
    confirmed_at: the earliest instant from which the newest confirmation can stem.
    known_until: until when ``leader`` is known (``-inf``: it is not).
    lead_until: ``known_until`` while this process is the leader, else ``-inf``.
    number: how many leaderships there have been; the current one's number while leading.
    needs_lock: whether leading also takes the pod's lock (``scope="process"``).
    holds_lock: whether this process holds that lock; always True if it needs none.
    needs_lease: whether leading also takes a Lease that names this pod (``verify="lease"``).
    named: the newest leader by the sidecar's word; named_until: until when that word holds;
        named_since: when it was first taken in, without another in between.
    reading: the newest reading of the Lease, kept after the grace period ran out.

    Frozen for type checkers. A plain class with slots, because one is made between each
    event and `Elector.is_leader`: a frozen dataclass is slower to make, a named tuple
    slower to read.
    """

    __slots__ = (
        "confirmed_at",
        "grace",
        "holds_lock",
        "identity",
        "known_until",
        "lead_until",
        "leader",
        "named",
        "named_since",
        "named_until",
        "needs_lease",
        "needs_lock",
        "number",
        "reading",
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
        needs_lock: bool = False,
        holds_lock: bool = True,
        needs_lease: bool = False,
        named: str | None = None,
        named_until: float = -inf,
        named_since: float = -inf,
        reading: LeaseReading | None = None,
    ) -> None:
        self.identity: Final = identity
        self.grace: Final = grace
        self.leader: Final = leader
        self.confirmed_at: Final = confirmed_at
        self.known_until: Final = known_until
        self.lead_until: Final = lead_until
        self.number: Final = number
        self.needs_lock: Final = needs_lock
        self.holds_lock: Final = holds_lock
        self.needs_lease: Final = needs_lease
        self.named: Final = named
        self.named_until: Final = named_until
        self.named_since: Final = named_since
        self.reading: Final = reading

    @property
    def fence(self) -> int | None:
        """The fencing token of the current leadership."""
        return None if self.reading is None else self.reading.fence


# --- what can happen to it -----------------------------------------------------------
# (named tuples: cheap to make; told apart by class, never compared)


class Confirmation(NamedTuple):
    """The sidecar named the leader.

    leader: the name; None only where the settings assume that another pod leads.
    at: the earliest instant from which this can stem: when a GET was *sent*, or when the
        event stream was last known to be empty.
    now: the instant at which it is taken in.
    pushed: True for news from the stream, which wins over a GET of the same instant.
    """

    leader: str | None
    at: float
    now: float
    pushed: bool = False


class Tick(NamedTuple):
    """Only time has passed."""

    now: float


class LockHeld(NamedTuple):
    """This process took (or lost) the pod's lock (``scope="process"``)."""

    held: bool
    now: float


class LeaseRead(NamedTuple):
    """The Lease was read (``verify="lease"``)."""

    reading: LeaseReading
    now: float


class Stopped(NamedTuple):
    """The elector was stopped: nothing is known any more."""

    now: float


Input: TypeAlias = Confirmation | Tick | LockHeld | LeaseRead | Stopped


# --- what follows from it ------------------------------------------------------------


class Elected(NamedTuple):
    """Leadership ``number`` began."""

    number: int


class Demoted(NamedTuple):
    """Leadership ``number`` ended. reason: see `Reason`."""

    number: int
    reason: Reason


Change: TypeAlias = Elected | Demoted | LeaderChange


# --- what users are shown ------------------------------------------------------------


class Counts(NamedTuple):
    """How often something happened since the elector was made (or since the fork).

    elected, demoted: leaderships gained and lost.
    answers, failures: GETs with and without a usable answer.
    streams, events, unreadable: streams opened, events read, and events that could not be.
    callback_errors, overruns: callbacks that raised, and callbacks that delayed others.
    """

    elected: int = 0
    demoted: int = 0
    answers: int = 0
    failures: int = 0
    streams: int = 0
    events: int = 0
    unreadable: int = 0
    callback_errors: int = 0
    overruns: int = 0


class PastLeadership(NamedTuple):
    """One leadership of this process.

    number: counts them, from 1. began: Unix time in seconds. seconds: how long it lasted.
    reason: why it ended: ``"replaced"``, ``"expired"``, ``"unverified"`` or ``"stopped"``;
        None while it lasts.
    """

    number: int
    began: float
    seconds: float
    reason: str | None


class TaskStatus(NamedTuple):
    """How a ``while_leader`` function is.

    name: the function's. state: ``"idle"`` (not the leader), ``"running"``, ``"waiting to
        restart"`` (it raised) or ``"ended"`` (it has finished for this leadership).
    failures: how often it raised in this leadership, or while idle, in the one before.
    since: Unix time in seconds at which this state began, None if it was never called.
    last_error: the type of what it raised last in that leadership, None if it did not.
    """

    name: str
    state: str = "idle"
    failures: int = 0
    since: float | None = None
    last_error: str | None = None


class Verification(NamedTuple):
    """What ``verify="lease"`` last found.

    holder: whom the Lease names, None if it names no pod or was never read.
    ours: whether that is exactly this pod. age: seconds since it was asked, None if never.
    problem: why the newest reading failed, or what contradicts the sidecar; else None.
    """

    holder: str | None
    ours: bool
    age: float | None
    problem: str | None


class Status(NamedTuple):
    """One consistent view of an elector, for people, logs and health endpoints.

    state: `State`; is_leader: the same as a bool.
    leader: the leader's name while known, else None. identity: our own name.
    running: whether `Elector.start` was called and `Elector.stop` was not.
    stream: ``"off"`` (not started, or no stream configured), ``"connecting"``,
        ``"open"``, ``"waiting"`` (between two attempts) or ``"absent"`` (there is
        no stream at that address; polling alone).
    age: seconds since the newest confirmation, None before the first.
    expires_in: seconds for which it still holds, None when nothing is known or
        it never expires (``when_unconfigured``).
    leadership: the number of the current leadership, None when not leading.
    last_error: the newest problem in one line, None if there has been none.
    scope: ``"pod"`` or ``"process"``; holds_lock: whether this process holds the
        pod's lock (None with scope ``"pod"``).
    verification: a `Verification`, None with ``verify="none"``.
    alive: False when a thread of the library has died, when the poll thread is stuck, or
        when a callback has delayed the announcement of a leadership's end for longer than
        the grace period. For liveness probes; says nothing about leading.
    counts: what happened since the elector was made (or since the fork).
    history: the newest ten leaderships, the current one last; each a `PastLeadership`.
    tasks: the ``while_leader`` functions in the order of registration; each a `TaskStatus`.
    shares_work: with scope ``"pod"``, whether another process of this pod ran leader-only work
        (callbacks for leadership, or ``while_leader`` functions) before this one did: in the
        leader pod both run theirs. False in the first such process.
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
    holds_lock: bool | None
    verification: Verification | None
    alive: bool
    counts: Counts
    history: tuple[PastLeadership, ...] = ()
    tasks: tuple[TaskStatus, ...] = ()
    shares_work: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict of plain JSON types; ``state`` becomes its lower-case name."""
        return {
            **self._asdict(),
            "state": self.state.value,
            "verification": None if self.verification is None else self.verification._asdict(),
            "counts": self.counts._asdict(),
            "history": [leadership._asdict() for leadership in self.history],
            "tasks": [task._asdict() for task in self.tasks],
        }

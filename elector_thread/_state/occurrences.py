"""What can happen to an elector: frozen events, for the log and for observers. Pure.

Text from outside was escaped, and credentials were left out, before an event was made.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = [
    "CallbackDone",
    "CallbackFailed",
    "CallbackOverran",
    "ContactLost",
    "Event",
    "EventRead",
    "EventUnreadable",
    "FenceMissing",
    "GetAnswered",
    "GetFailed",
    "GuardedCall",
    "LeaderConfirmed",
    "LeadershipAnnounced",
    "LeadershipGained",
    "LeadershipLost",
    "LeaseAnswered",
    "LeaseFailed",
    "ObserverFailed",
    "StreamEnded",
    "StreamOpened",
    "TaskEnded",
    "TaskFailed",
    "TaskStarted",
    "UnexpectedError",
    "WorkShared",
]


# --- the sidecar and the Lease ---------------------------------------------------------


class GetAnswered(NamedTuple):
    """A GET was answered, after ``seconds``."""

    seconds: float


class GetFailed(NamedTuple):
    """A GET brought no usable answer."""

    reason: str
    seconds: float


class StreamOpened(NamedTuple):
    """The event stream is open, ``seconds`` after it was asked for."""

    seconds: float


class StreamEnded(NamedTuple):
    """The event stream ended or could not be opened.

    absent: there is none at that address. opened: it was open before.
    """

    reason: str
    absent: bool
    opened: bool = False


class EventRead(NamedTuple):
    """An event of the stream was read."""


class EventUnreadable(NamedTuple):
    """An event of the stream could not be understood."""

    reason: str


class LeaseAnswered(NamedTuple):
    """The Lease was read. problem: how it contradicts the sidecar, which names this pod."""

    problem: str | None
    seconds: float


class LeaseFailed(NamedTuple):
    """The Lease could not be read. permanent: until someone changes the set-up."""

    reason: str
    permanent: bool
    seconds: float


class FenceMissing(NamedTuple):
    """The Lease's resourceVersion is not a decimal number, so it yields no fencing token."""


# --- the state -------------------------------------------------------------------------


class LeaderConfirmed(NamedTuple):
    """The sidecar named the leader. at: the instant from which that counts.

    An instant is a number of seconds on the library's clock (`elector_thread._state.clock`).
    """

    leader: str
    at: float


class ContactLost(NamedTuple):
    """The leader was known and is no longer: the grace period is over, or by a stop."""


class LeadershipGained(NamedTuple):
    """This process became the leader. fence: its fencing token, None without verification."""

    number: int
    fence: int | None


class LeadershipLost(NamedTuple):
    """This process is no longer the leader, after ``seconds``.

    reason: ``"replaced"`` (another leader is named, or another process holds the pod's lock),
        ``"expired"`` (no confirmation for the grace period), ``"unverified"`` (the sidecar
        names this pod, but no valid reading of the Lease does) or ``"stopped"``.
    """

    number: int
    reason: str
    seconds: float


# --- user code -------------------------------------------------------------------------


class LeadershipAnnounced(NamedTuple):
    """The beginning or the end of leadership ``number`` is about to be announced.

    reason: for an end, as in `LeadershipLost`; else None.
    """

    identity: str
    number: int
    ended: bool
    reason: str | None


class CallbackDone(NamedTuple):
    """A callback has returned or raised, after ``seconds``."""

    name: str
    seconds: float


class CallbackFailed(NamedTuple):
    """A callback raised."""

    name: str
    error: BaseException


class CallbackOverran(NamedTuple):
    """A callback has been running for so long that others wait for it."""

    name: str
    seconds: float


class TaskStarted(NamedTuple):
    """A ``while_leader`` function was called."""

    name: str


class TaskFailed(NamedTuple):
    """A ``while_leader`` function raised, for the ``failures``th time in this leadership."""

    name: str
    error: BaseException
    failures: int


class TaskEnded(NamedTuple):
    """A ``while_leader`` function has returned or raised, ``seconds`` after it was called."""

    name: str
    seconds: float


class GuardedCall(NamedTuple):
    """A function behind ``only_on_leader`` was called.

    outcome: ``"run"``, ``"skipped"`` (another leader is known), ``"unknown"`` (skipped because
        the leader is not known) or ``"error"`` (it ran and raised).
    seconds: how long it ran, 0 if it did not. interval: as given to the guard, else None.
    """

    function: str
    outcome: str
    seconds: float
    interval: float | None


class WorkShared(NamedTuple):
    """Another process of this pod runs leader-only work as well, with ``scope="pod"``."""


class ObserverFailed(NamedTuple):
    """An observer raised. Logged, and not passed to observers."""

    observer: str
    error: Exception


class UnexpectedError(NamedTuple):
    """A thread of the library met an error that it did not expect: a bug."""

    thread: str
    error: BaseException


Event: TypeAlias = (
    GetAnswered
    | GetFailed
    | StreamOpened
    | StreamEnded
    | EventRead
    | EventUnreadable
    | LeaseAnswered
    | LeaseFailed
    | FenceMissing
    | LeaderConfirmed
    | ContactLost
    | LeadershipGained
    | LeadershipLost
    | LeadershipAnnounced
    | CallbackDone
    | CallbackFailed
    | CallbackOverran
    | TaskStarted
    | TaskFailed
    | TaskEnded
    | GuardedCall
    | WorkShared
    | ObserverFailed
    | UnexpectedError
)
"""Everything that is recorded. More kinds may be added."""

"""What has happened: frozen events, their counts, the newest problem and the slow callback.

Nothing here decides who leads. Every event is also passed to observers, such as the log.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import RLock
from typing import NamedTuple, TypeAlias

from .clock import is_held_here, now
from .model import Counts

__all__ = [
    "CallbackFailed",
    "CallbackOverran",
    "Event",
    "EventRead",
    "EventUnreadable",
    "FenceMissing",
    "GetAnswered",
    "GetFailed",
    "Health",
    "LeadershipAnnounced",
    "LeaseAnswered",
    "LeaseFailed",
    "Observer",
    "StreamEnded",
    "StreamOpened",
    "UnexpectedError",
    "observers",
]


class GetAnswered(NamedTuple):
    """A GET was answered."""


class GetFailed(NamedTuple):
    """A GET brought no usable answer."""

    reason: str


class StreamOpened(NamedTuple):
    """The event stream is open."""


class StreamEnded(NamedTuple):
    """The event stream ended or could not be opened. absent: there is none at that address."""

    reason: str
    absent: bool


class EventRead(NamedTuple):
    """An event of the stream was read."""


class EventUnreadable(NamedTuple):
    """An event of the stream could not be understood."""

    reason: str


class LeaseAnswered(NamedTuple):
    """The Lease was read. problem: how it contradicts the sidecar, which names this pod."""

    problem: str | None


class LeaseFailed(NamedTuple):
    """The Lease could not be read. permanent: until someone changes the set-up."""

    reason: str
    permanent: bool


class FenceMissing(NamedTuple):
    """The Lease's resourceVersion is not a decimal number, so it yields no fencing token."""


class LeadershipAnnounced(NamedTuple):
    """The beginning or the end of leadership ``number`` is about to be announced."""

    identity: str
    number: int
    ended: bool


class CallbackFailed(NamedTuple):
    """A callback or a leader task raised."""

    name: str
    error: BaseException


class CallbackOverran(NamedTuple):
    """A callback has been running for so long that others wait for it."""

    name: str
    seconds: float


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
    | LeadershipAnnounced
    | CallbackFailed
    | CallbackOverran
    | UnexpectedError
)
Observer: TypeAlias = Callable[[Event], None]

observers: list[Observer] = []
"""Called with every event of every elector in this process, on the thread where it happened and
with no lock held. Appended to while modules are imported; must return at once and never raise."""

_COUNTED: dict[type[Event], str] = {
    GetAnswered: "answers",
    GetFailed: "failures",
    StreamOpened: "streams",
    EventRead: "events",
    EventUnreadable: "unreadable",
    CallbackFailed: "callback_errors",
    CallbackOverran: "overruns",
}


class Health:
    """Counts what happens to one elector, for its status, and tells its observers.

    `_lock` protects `counts` and `last_error` against other writers, and makes one overrun
    one event; it is not held while observers run. Readers take no lock: each attribute is
    a whole value. `running` is written by the dispatch thread, `poll_due` by the poll
    thread.
    """

    def __init__(self, log: Observer) -> None:
        self._lock = RLock()
        self._log = log
        self.counts = Counts()
        self.last_error: str | None = None
        self.lease_problem: str | None = None  # of the newest reading; written by the poll thread
        self.running: tuple[str, float] | None = None  # the callback under way, and since when
        self._overrun: tuple[str, float] | None = None
        self.poll_due = inf  # when the poll thread will have asked again

    def record(self, event: Event) -> None:
        """Count ``event`` and pass it on."""
        field, problem = _COUNTED.get(type(event)), _problem(event)
        with self._lock:
            if field is not None:
                self.counts = self.counts._replace(**{field: getattr(self.counts, field) + 1})
            if problem is not None:
                self.last_error = problem
            if isinstance(event, LeaseAnswered):
                self.lease_problem = event.problem
            elif isinstance(event, LeaseFailed):
                self.lease_problem = event.reason
        self._log(event)
        for observer in observers:
            observer(event)

    def check_overrun(self, longest: float) -> None:
        """Record, once, a callback that has been running for more than ``longest`` seconds."""
        running = self.running
        if running is None or now() - running[1] < longest:
            return
        with self._lock:
            known, self._overrun = self._overrun is running, running
        if not known:
            self.record(CallbackOverran(running[0], now() - running[1]))

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted `record`."""
        return is_held_here(self._lock)


def _problem(event: Event) -> str | None:
    """The line that a status shows as the newest problem."""
    if isinstance(event, GetFailed | StreamEnded | EventUnreadable | LeaseFailed):
        return event.reason
    if isinstance(event, CallbackFailed):
        return f"{event.name} raised {type(event.error).__name__}"
    if isinstance(event, UnexpectedError):
        return f"unexpected {type(event.error).__name__} in {event.thread}"
    return None

"""What the metrics of this process are: events are counted, state is read when it is asked for.

An observer runs on any thread, also in a signal handler and just before another thread forks.
So `Recorder.__call__` waits for nothing: it appends the event to a deque, in one atomic step,
and touches no metrics library, whose locks a forked child might inherit locked and a signal
handler might wait for in vain. The thread that reads the metrics counts what was appended.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from threading import Lock
from time import time
from typing import Any, NamedTuple, TypeAlias, get_args

from .._guarded import JOBS
from .._runtime import forks
from .._runtime.process import electors
from .._state.model import Reason, State, Status
from . import (
    CallbackDone,
    CallbackFailed,
    Event,
    GetAnswered,
    GetFailed,
    GuardedCall,
    LeadershipGained,
    LeadershipLost,
    LeaseAnswered,
    LeaseFailed,
    StreamEnded,
    StreamOpened,
    TaskFailed,
    add_observer,
)
from ._table import (
    ALIVE,
    CALLBACK_ERRORS,
    CALLBACKS,
    CONFIRMED,
    ENDED,
    GUARDED_CALLS,
    INTERVAL,
    LEADERSHIPS,
    LEADING,
    LEASE_VERIFIED,
    MASTER,
    REQUESTS,
    STATE,
    SUCCESS,
    Metric,
)

__all__ = ["Amount", "Reading", "Recorder", "recorder"]

MOST_PENDING = 1000
"""Events to keep before they are counted although the metrics are not read."""

Labels: TypeAlias = tuple[str, ...]


class Amount(NamedTuple):
    """The value of a gauge or counter, or the sum of a summary over ``times`` observations."""

    value: float
    times: int = 0


Reading: TypeAlias = dict[Metric, dict[Labels, Amount]]
"""Every metric with its values, by the values of its labels."""

_COUNTED: dict[type[Event], Callable[[Any], tuple[Metric, Labels, float]]] = {
    LeadershipGained: lambda _: (LEADERSHIPS, (), 1),
    LeadershipLost: lambda event: (ENDED, (event.reason,), 1),
    GetAnswered: lambda _: (REQUESTS, ("get", "ok"), 1),
    GetFailed: lambda _: (REQUESTS, ("get", "error"), 1),
    StreamOpened: lambda _: (REQUESTS, ("stream", "ok"), 1),
    StreamEnded: lambda event: (REQUESTS, ("stream", "absent" if event.absent else "error"), 1),
    LeaseAnswered: lambda _: (REQUESTS, ("lease", "ok"), 1),
    LeaseFailed: lambda _: (REQUESTS, ("lease", "error"), 1),
    CallbackDone: lambda event: (CALLBACKS, (), event.seconds),
    CallbackFailed: lambda _: (CALLBACK_ERRORS, (), 1),
    TaskFailed: lambda _: (CALLBACK_ERRORS, (), 1),
    GuardedCall: lambda event: (GUARDED_CALLS, (event.function, event.outcome), 1),
}

_OUTCOMES = [("get", "ok"), ("get", "error"), ("stream", "ok"), ("stream", "error")]
_OUTCOMES += [("stream", "absent"), ("lease", "ok"), ("lease", "error")]


class _Totals:
    """What was counted in one process. A forked child has new ones.

    `lock` protects all but `pending`, each operation on which is atomic.
    """

    def __init__(self) -> None:
        self.pending: deque[tuple[float, Event]] = deque()  # each with the time of day
        self.lock = Lock()
        # what may happen begins with 0: a counter that appears with 1 never rises
        self.counted: Reading = {
            LEADERSHIPS: {(): Amount(0)},
            ENDED: {(reason,): Amount(0) for reason in get_args(Reason)},
            REQUESTS: {labels: Amount(0) for labels in _OUTCOMES},
            CALLBACKS: {(): Amount(0)},
            CALLBACK_ERRORS: {(): Amount(0)},
            GUARDED_CALLS: {},
        }
        self.led = 0.0  # seconds of leaderships that are over
        self.leading = 0.0  # seconds of all of them, as last reported
        self.successes: dict[str, float] = {}

    def count_pending(self) -> None:
        """Count what is pending. Under the lock."""
        with suppress(IndexError):
            while True:
                self._count(*self.pending.popleft())

    def _count(self, at: float, event: Event) -> None:
        if isinstance(event, StreamEnded) and event.opened:
            return  # that request was counted when it succeeded
        if find := _COUNTED.get(type(event)):
            metric, labels, more = find(event)
            before = self.counted[metric].get(labels, Amount(0))
            self.counted[metric][labels] = Amount(before.value + more, before.times + 1)
        if isinstance(event, LeadershipLost):
            self.led += event.seconds
        elif isinstance(event, GuardedCall) and event.outcome == "run":
            self.successes[event.function] = max(at, self.successes.get(event.function, 0.0))


class Recorder:
    """Observes every elector of this process. `read` may be called by any thread."""

    def __init__(self) -> None:
        self._totals = _Totals()  # replaced in a forked child, while it has a single thread

    def forget(self) -> None:
        """In a forked child: begin anew, with a lock that is its own."""
        self._totals = _Totals()

    def __call__(self, event: Event) -> None:
        totals = self._totals
        totals.pending.append((time(), event))
        # never waits for the lock: a signal handler may have interrupted its holder
        if len(totals.pending) > MOST_PENDING and totals.lock.acquire(blocking=False):
            try:
                totals.count_pending()
            finally:
                totals.lock.release()

    def read(self) -> Reading:
        """Every metric as of now. In a forked child this may start the elector."""
        forks.notice()
        totals = self._totals
        with totals.lock:
            totals.count_pending()
            counted = {metric: dict(values) for metric, values in totals.counted.items()}
            led, successes = totals.led, dict(totals.successes)
        # after the counting: a leadership must not be in `led` and still be going on
        statuses = [host.status() for host in electors()]
        with totals.lock:  # never less than before: an end may show before its event has come in
            totals.leading = max(totals.leading, led + sum(map(_current_seconds, statuses)))
            leading = totals.leading
        jobs = dict(JOBS)
        for labels in product(jobs, ("run", "skipped", "unknown", "error")):
            counted[GUARDED_CALLS].setdefault(labels, Amount(0))
        return {
            **_state(statuses),
            **counted,
            LEADING: {(): Amount(leading)},
            SUCCESS: {(job,): Amount(successes.get(job, 0.0)) for job in jobs},
            INTERVAL: {(job,): Amount(interval) for job, interval in jobs.items()},
        }


def _state(statuses: list[Status]) -> Reading:
    """Of several electors in one process, the state that says most: leader, then follower."""
    states = {status.state for status in statuses}
    state = next((one for one in State if one in states), State.UNKNOWN)
    name = os.environ.get("NAIS_APP_NAME") or "elector-thread"
    instant = time()
    asked = [status.age for status in statuses]
    verified = [
        one.verification.age for one in statuses if one.verification and one.verification.ours
    ]
    return {
        MASTER: {(name,): Amount(state is State.LEADER)},
        STATE: {(one.value,): Amount(one is state) for one in State},
        ALIVE: {(): Amount(all(status.alive for status in statuses))},
        CONFIRMED: {(): Amount(_newest(instant, asked))},
        LEASE_VERIFIED: {(): Amount(_newest(instant, verified))},
    }


def _newest(instant: float, ages: Iterable[float | None]) -> float:
    return max((instant - age for age in ages if age is not None), default=0.0)


def _current_seconds(status: Status) -> float:
    """How long the current leadership has lasted."""
    newest = status.history[-1] if status.history else None
    return newest.seconds if newest is not None and newest.reason is None else 0.0


_recorders: list[Recorder] = []


def recorder() -> Recorder:
    """The one recorder of this process, which observes from the first call on."""
    if not _recorders:
        made = Recorder()
        _recorders.append(made)
        forks.in_child(made.forget)
        add_observer(made)
    return _recorders[0]

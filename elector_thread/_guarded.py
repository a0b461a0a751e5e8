"""What a call of a guarded function does: asks, waits for the first answer, and is recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from ._runtime import access, forks
from ._state.clock import now
from ._state.health import observers
from ._state.model import State
from ._state.occurrences import GuardedCall

__all__ = ["JOBS", "Check", "ElectorLike", "Job", "Outcome"]

Outcome: TypeAlias = Literal["run", "skipped", "unknown"]

JOBS: dict[str, float] = {}
"""The interval of each guarded function that has one, by its name. Filled at decoration."""

if TYPE_CHECKING:  # a Protocol is slow to define, and only type checkers look at it
    from ._runtime.process import Host

    class ElectorLike(Host, Protocol):
        """What the guard needs of an `Elector`."""

        @property
        def is_leader(self) -> bool:
            """Whether this process is the leader right now."""

        def _may_wait_for_first_answer(self, timeout: float) -> bool:
            """Whether the leader is unknown only because the elector was started just now."""

        def _wait_for_first_answer(self, timeout: float) -> None:
            """Wait until the leader is known, unless an earlier wait timed out."""

        @property
        def state(self) -> State:
            """LEADER, FOLLOWER or UNKNOWN, right now."""


class Check(NamedTuple):
    """Whether a call may run. elector: the one to ask, or a function that returns it."""

    elector: ElectorLike | Callable[[], ElectorLike]
    wait: float
    runs_when_unknown: bool

    def ask(self) -> ElectorLike:
        """The elector to ask."""
        return self.elector() if callable(self.elector) else self.elector

    def outcome(self, elector: ElectorLike) -> Outcome:
        """Ask, having waited for the first answer if need be."""
        if _leads(elector):
            return "run"
        if elector._may_wait_for_first_answer(self.wait):
            elector._wait_for_first_answer(self.wait)
        return self._outcome_now(elector)

    async def outcome_async(self, elector: ElectorLike) -> Outcome:
        """See `outcome`; does not block the event loop."""
        if _leads(elector):
            return "run"
        if elector._may_wait_for_first_answer(self.wait):
            import asyncio  # slow to import, and only async code needs it

            await asyncio.to_thread(elector._wait_for_first_answer, self.wait)
        return self._outcome_now(elector)

    def _outcome_now(self, elector: ElectorLike) -> Outcome:
        if elector.is_leader:
            return "run"
        if elector.state is not State.UNKNOWN:
            return "skipped"
        return "run" if self.runs_when_unknown else "unknown"


def _leads(elector: ElectorLike) -> bool:
    forks.notice()  # `is_leader` alone does not
    return elector.is_leader


class Job(NamedTuple):
    """A guarded function, for the log and for observers. interval: as given to the guard."""

    name: str
    interval: float | None

    def was_skipped(self, elector: ElectorLike, outcome: Outcome) -> None:
        """Record a call that did not run."""
        if observers or outcome == "unknown":  # which is logged
            access.record(elector, GuardedCall(self.name, outcome, 0.0, self.interval))

    def running(self, elector: ElectorLike) -> AbstractContextManager[object]:
        """Around a call, for observers."""
        return _Recorded(self, elector)


class _Recorded:
    """Records a call that runs."""

    def __init__(self, job: Job, elector: ElectorLike) -> None:
        self._job = job
        self._elector = elector

    def __enter__(self) -> None:
        self._began = now()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        name, interval = self._job
        outcome = "run" if kind is None else "error"
        access.record(self._elector, GuardedCall(name, outcome, now() - self._began, interval))

"""`Elector.status`: one consistent view, put together from what a runtime holds."""

from __future__ import annotations

from math import isfinite
from time import time

from .._state.model import PastLeadership, Snapshot, State, Status, Verification
from .._state.rules import leader_at, state_at
from .phases import Phase
from .runtime import Runtime

__all__ = ["status_of"]


def status_of(runtime: Runtime, snapshot: Snapshot, instant: float) -> Status:
    """The status at ``instant``, when ``snapshot`` was all that was known."""
    health = runtime.health
    state = state_at(snapshot, instant)
    is_leader = state is State.LEADER
    left = snapshot.known_until - instant
    age = max(0.0, instant - snapshot.confirmed_at)
    return Status(
        state=state,
        is_leader=is_leader,
        leader=leader_at(snapshot, instant),
        identity=snapshot.identity,
        running=runtime.phase is Phase.RUNNING,
        stream=runtime.store.stream,
        age=age if isfinite(age) else None,
        expires_in=left if isfinite(left) and left > 0 else None,
        leadership=snapshot.number if is_leader else None,
        last_error=health.last_error,
        scope=runtime.settings.scope,
        holds_lock=snapshot.holds_lock if snapshot.needs_lock else None,
        verification=_verification(snapshot, instant, health.lease_problem),
        alive=runtime.alive,
        counts=health.counts._replace(elected=snapshot.number, demoted=snapshot.number - is_leader),
        history=_history(runtime, snapshot, instant) if is_leader else health.history,
        tasks=runtime.registry.task_statuses(),
        shares_work=health.shares_work,
    )


def _history(runtime: Runtime, snapshot: Snapshot, instant: float) -> tuple[PastLeadership, ...]:
    """Those that are over, and the one that lasts."""
    past = tuple(one for one in runtime.health.history if one.number < snapshot.number)
    current = runtime.store.leadership
    if current is None or current.number != snapshot.number:  # over since the snapshot was taken
        return past
    lasts = instant - current.since
    return (*past, PastLeadership(current.number, time() - lasts, lasts, None))


def _verification(snapshot: Snapshot, instant: float, problem: str | None) -> Verification | None:
    if not snapshot.needs_lease:
        return None
    reading = snapshot.reading
    if reading is None:
        return Verification(None, False, None, problem)
    return Verification(reading.holder, reading.ours, instant - reading.at, problem)

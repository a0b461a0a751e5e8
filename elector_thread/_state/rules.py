"""Who leads, decided: one pure function over frozen values.

No clock, no I/O, no threads: instants come in with the inputs. The caller of
`advance` owns the ordering; see `store.Store`.
"""

from __future__ import annotations

from math import inf

from .model import (
    Change,
    Confirmation,
    Demoted,
    Elected,
    Input,
    LeaderChange,
    LockHeld,
    Snapshot,
    State,
    Stopped,
)

__all__ = ["advance", "deadline", "leader_at", "state_at", "unknowing"]


def advance(snapshot: Snapshot, given: Input) -> tuple[Snapshot, tuple[Change, ...]]:
    """What follows when ``given`` happens to ``snapshot``, and what changed by it.

    Time comes first: a leadership that expired before ``given.now`` is over, even when
    the next confirmation names us again. That is then a new leadership.
    """
    current = snapshot
    expiry: tuple[Change, ...] = ()
    if given.now >= deadline(snapshot):
        current, expiry = _settle(
            snapshot, snapshot.leader, snapshot.confirmed_at, -inf, snapshot.holds_lock
        )
    if isinstance(given, Confirmation):
        current, changes = _confirm(current, given)
    elif isinstance(given, LockHeld):
        current, changes = _settle(
            current, current.leader, current.confirmed_at, current.known_until, given.held
        )
    elif isinstance(given, Stopped):
        current, changes = _settle(current, None, -inf, -inf, not current.needs_lock)
    else:
        return current, expiry
    return current, expiry + changes


def state_at(snapshot: Snapshot, now: float) -> State:
    """The state at the instant ``now``, whether or not its expiry was published yet."""
    if now < snapshot.lead_until:
        return State.LEADER
    return State.FOLLOWER if now < snapshot.known_until else State.UNKNOWN


def leader_at(snapshot: Snapshot, now: float) -> str | None:
    """The leader's name if it is known at ``now``, else None."""
    return snapshot.leader if now < snapshot.known_until else None


def deadline(snapshot: Snapshot) -> float:
    """The next instant at which time alone changes the state; ``inf`` if there is none."""
    return snapshot.known_until if snapshot.known_until > -inf else inf


def unknowing(snapshot: Snapshot) -> Snapshot:
    """The same elector's snapshot with nothing known and no lock held."""
    return _settle(snapshot, None, -inf, -inf, not snapshot.needs_lock)[0]


def _confirm(snapshot: Snapshot, given: Confirmation) -> tuple[Snapshot, tuple[Change, ...]]:
    if _is_outdated(snapshot, given):
        return snapshot, ()
    previous, leader, at = snapshot.leader, given.leader, given.at
    confirmed, changes = _settle(snapshot, leader, at, at + snapshot.grace, snapshot.holds_lock)
    if leader is None or leader == previous:
        return confirmed, changes
    return confirmed, (*changes, LeaderChange(previous, leader))


def _is_outdated(snapshot: Snapshot, given: Confirmation) -> bool:
    """Whether a newer confirmation is known, or this one's grace period is over already."""
    if given.at + snapshot.grace <= given.now or given.at < snapshot.confirmed_at:
        return True
    return given.at == snapshot.confirmed_at and not given.pushed


def _settle(
    before: Snapshot, leader: str | None, confirmed_at: float, known_until: float, holds_lock: bool
) -> tuple[Snapshot, tuple[Change, ...]]:
    """The snapshot that follows, and whether a leadership of ours begins or ends with it."""
    led = before.lead_until > -inf
    leads = leader == before.identity and holds_lock and known_until > -inf
    after = Snapshot(
        before.identity,
        before.grace,
        leader,
        confirmed_at,
        known_until,
        known_until if leads else -inf,
        before.number + 1 if leads and not led else before.number,
        before.needs_lock,
        holds_lock,
    )
    if leads == led:
        return after, ()
    return after, (Elected(after.number) if leads else Demoted(after.number),)

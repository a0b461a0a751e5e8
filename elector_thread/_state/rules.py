"""The state machine: a pure function from a snapshot and an input to the next snapshot.

No clock, no I/O, no threads: instants come in with the inputs. The caller of
`advance` owns the ordering; see `store.Store`.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from .model import (
    Change,
    Confirmation,
    Demoted,
    Elected,
    Input,
    LeaderChange,
    LeaseRead,
    LeaseReading,
    LockHeld,
    Reason,
    Snapshot,
    State,
    Stopped,
)

__all__ = ["advance", "deadline", "is_known", "leader_at", "state_at", "unknowing"]


def advance(snapshot: Snapshot, given: Input) -> tuple[Snapshot, tuple[Change, ...]]:
    """What follows when ``given`` happens to ``snapshot``, and what changed by it.

    Time comes first: a leadership that expired before ``given.now`` is over, even when
    the next confirmation names us again. That is then a new leadership.
    """
    current = snapshot
    expiry: tuple[Change, ...] = ()
    if given.now >= deadline(snapshot):
        current, expiry = _settle(snapshot, _basis(snapshot), given.now)
    if isinstance(given, Confirmation):
        current, changes = _confirm(current, given)
    elif isinstance(given, LeaseRead):
        current, changes = _verify(current, given)
    elif isinstance(given, LockHeld):
        basis = _basis(current)._replace(holds_lock=given.held)
        current, changes = _settle(current, basis, given.now)
    elif isinstance(given, Stopped):
        changes = (Demoted(current.number, "stopped"),) if current.lead_until > -inf else ()
        current = unknowing(current)
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


def is_known(snapshot: Snapshot, now: float) -> bool:
    """Whether it is known at ``now`` who is the leader."""
    return now < snapshot.known_until


def deadline(snapshot: Snapshot) -> float:
    """The next instant at which time alone changes the state; ``inf`` if there is none."""
    return snapshot.known_until if snapshot.known_until > -inf else inf


def unknowing(snapshot: Snapshot) -> Snapshot:
    """The same elector's snapshot with nothing known and no lock held."""
    return Snapshot(
        snapshot.identity,
        snapshot.grace,
        number=snapshot.number,
        needs_lock=snapshot.needs_lock,
        holds_lock=not snapshot.needs_lock,
        needs_lease=snapshot.needs_lease,
    )


class _Basis(NamedTuple):
    """What a snapshot is derived from: the newest facts."""

    named: str | None
    confirmed_at: float
    named_until: float
    named_since: float
    reading: LeaseReading | None
    holds_lock: bool


def _basis(snapshot: Snapshot) -> _Basis:
    return _Basis(
        snapshot.named,
        snapshot.confirmed_at,
        snapshot.named_until,
        snapshot.named_since,
        snapshot.reading,
        snapshot.holds_lock,
    )


def _confirm(snapshot: Snapshot, given: Confirmation) -> tuple[Snapshot, tuple[Change, ...]]:
    if _is_outdated(snapshot, given):
        return snapshot, ()
    goes_on = given.leader == snapshot.named and given.now < snapshot.named_until
    basis = _Basis(
        given.leader,
        given.at,
        given.at + snapshot.grace,
        snapshot.named_since if goes_on else given.now,
        snapshot.reading,
        snapshot.holds_lock,
    )
    return _settle(snapshot, basis, given.now)


def _is_outdated(snapshot: Snapshot, given: Confirmation) -> bool:
    """Whether a newer confirmation is known, or this one's grace period is over already."""
    if given.at + snapshot.grace <= given.now or given.at < snapshot.confirmed_at:
        return True
    return given.at == snapshot.confirmed_at and not given.pushed


def _verify(snapshot: Snapshot, given: LeaseRead) -> tuple[Snapshot, tuple[Change, ...]]:
    newest, reading = snapshot.reading, given.reading
    if not snapshot.needs_lease:
        return snapshot, ()
    if reading.at + snapshot.grace <= given.now or (newest is not None and reading.at < newest.at):
        return snapshot, ()
    return _settle(snapshot, _basis(snapshot)._replace(reading=reading), given.now)


def _known(before: Snapshot, basis: _Basis, now: float) -> tuple[str | None, float]:
    """The leader, and until when it is known; ``-inf`` if it is not, at ``now``."""
    leader, until = _found(before, basis)
    return (leader, until) if now < until else (before.leader, -inf)


def _found(before: Snapshot, basis: _Basis) -> tuple[str | None, float]:
    """The leader by the newest facts, and until when they hold.

    Where the sidecar names this pod and a Lease is needed, the Lease decides, if it was asked
    after the sidecar's present word began: an older reading may be of an earlier leadership.
    """
    if basis.named != before.identity or not before.needs_lease:
        return basis.named, basis.named_until
    reading = basis.reading
    if reading is None or reading.at < basis.named_since:
        return before.leader, -inf
    until = reading.at + before.grace
    if reading.ours:
        return before.identity, min(until, basis.named_until)
    if reading.holder is None or reading.holder == before.identity:  # or another pod of our name
        return before.leader, -inf
    return reading.holder, until


def _settle(before: Snapshot, basis: _Basis, now: float) -> tuple[Snapshot, tuple[Change, ...]]:
    """The snapshot that follows from ``basis`` at ``now``, and what changed by it."""
    leader, known_until = _known(before, basis, now)
    led = before.lead_until > -inf
    leads = leader == before.identity and basis.holds_lock and known_until > -inf
    renewed = led and leads and _term(before.reading) != _term(basis.reading)
    begins = leads and (renewed or not led)
    after = Snapshot(
        before.identity,
        before.grace,
        leader,
        basis.confirmed_at,
        known_until,
        known_until if leads else -inf,
        before.number + 1 if begins else before.number,
        before.needs_lock,
        basis.holds_lock,
        before.needs_lease,
        basis.named,
        basis.named_until,
        basis.named_since,
        basis.reading,
    )
    changes: tuple[Change, ...] = ()
    if led and (renewed or not leads):
        changes += (Demoted(before.number, _end_reason(before, basis, known_until, now)),)
    if begins:
        changes += (Elected(after.number),)
    if leader is not None and leader != before.leader:
        changes += (LeaderChange(before.leader, leader),)
    return after, changes


def _end_reason(before: Snapshot, basis: _Basis, known_until: float, now: float) -> Reason:
    """Why leadership ends by ``basis``; a leader that is known is another one, or a new term."""
    if known_until > -inf:
        return "replaced"
    if before.needs_lease and basis.named == before.identity and now < basis.named_until:
        return "unverified"
    return "expired"


def _term(reading: LeaseReading | None) -> str | None:
    return None if reading is None else reading.uid

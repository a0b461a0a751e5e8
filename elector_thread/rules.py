"""Who leads, decided: one pure function over frozen values.

No clock, no I/O, no threads: instants come in with the inputs. Whatever calls
`advance` owns the ordering; see `elector_thread.cell`.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from .model import (
    Change,
    Confirmation,
    Demoted,
    Elected,
    Input,
    LeaderChange,
    Seat,
    Snapshot,
    State,
    Stopped,
)

__all__ = ["advance", "deadline", "leader_at", "state_at", "unknowing"]


def advance(snapshot: Snapshot, given: Input) -> tuple[Snapshot, tuple[Change, ...]]:
    """What follows when ``given`` happens to ``snapshot``, and what changed by it.

    Time comes first: a leadership that ran out before ``given.now`` is over,
    even when the very next word names us again. That is then a new leadership.
    """
    current, expiry = _expire(snapshot, given.now)
    if isinstance(given, Confirmation):
        current, changes = _confirm(current, given)
    elif isinstance(given, Seat):
        current, changes = _lead_or_not(replace(current, seated=given.held))
    elif isinstance(given, Stopped):
        current, changes = _forget(current)
    else:
        changes = ()
    return current, expiry + changes


def state_at(snapshot: Snapshot, now: float) -> State:
    """The state at the instant ``now``, whether or not anybody has noticed yet."""
    if now < snapshot.lead_until:
        return State.LEADER
    return State.FOLLOWER if now < snapshot.known_until else State.UNKNOWN


def leader_at(snapshot: Snapshot, now: float) -> str | None:
    """The leader's name if it is known at ``now``, else None."""
    return snapshot.leader if now < snapshot.known_until else None


def deadline(snapshot: Snapshot) -> float:
    """The next instant at which time alone changes the state; ``inf`` if there is none."""
    return snapshot.known_until if snapshot.known_until > -inf else inf


def _expire(snapshot: Snapshot, now: float) -> tuple[Snapshot, tuple[Change, ...]]:
    if now < deadline(snapshot):
        return snapshot, ()
    return _end(replace(snapshot, known_until=-inf))


def _confirm(snapshot: Snapshot, word: Confirmation) -> tuple[Snapshot, tuple[Change, ...]]:
    if _is_outdated(snapshot, word):
        return snapshot, ()
    confirmed = replace(
        snapshot,
        leader=word.leader,
        confirmed_at=word.at,
        known_until=word.at + snapshot.grace,
    )
    news = _leader_change(snapshot.leader, word.leader)
    confirmed, changes = _lead_or_not(confirmed)
    return confirmed, changes + news


def _is_outdated(snapshot: Snapshot, word: Confirmation) -> bool:
    """A word is outdated if a newer one is known, or if its own grace has run out."""
    if word.at + snapshot.grace <= word.now or word.at < snapshot.confirmed_at:
        return True
    return word.at == snapshot.confirmed_at and not word.pushed


def _leader_change(previous: str | None, current: str | None) -> tuple[Change, ...]:
    if current is None or current == previous:
        return ()
    return (LeaderChange(previous, current),)


def _lead_or_not(snapshot: Snapshot) -> tuple[Snapshot, tuple[Change, ...]]:
    """Begin, extend or end our leadership, as the confirmation and the seat demand."""
    if snapshot.leader != snapshot.identity or not snapshot.seated:
        return _end(snapshot)
    extended = replace(snapshot, lead_until=snapshot.known_until)
    if snapshot.lead_until > -inf or snapshot.known_until == -inf:
        return extended, ()
    begun = replace(extended, number=snapshot.number + 1)
    return begun, (Elected(begun.number),)


def _end(snapshot: Snapshot) -> tuple[Snapshot, tuple[Change, ...]]:
    if snapshot.lead_until == -inf:
        return snapshot, ()
    return replace(snapshot, lead_until=-inf), (Demoted(snapshot.number),)


def _forget(snapshot: Snapshot) -> tuple[Snapshot, tuple[Change, ...]]:
    """Keep the name, the rules and the count; forget everything that was ever heard."""
    _, changes = _end(snapshot)
    return unknowing(snapshot), changes


def unknowing(snapshot: Snapshot) -> Snapshot:
    """The same elector's snapshot with nothing heard and no seat taken."""
    return Snapshot(
        snapshot.identity,
        snapshot.grace,
        number=snapshot.number,
        exclusive=snapshot.exclusive,
        seated=not snapshot.exclusive,
    )

"""Who leads, decided: one pure function over frozen values.

No clock, no I/O, no threads: instants come in with the inputs. Whatever calls
`advance` owns the ordering; see `elector_thread.cell`.
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
    current = snapshot
    expiry: tuple[Change, ...] = ()
    if given.now >= deadline(snapshot):
        current, expiry = _settle(
            snapshot, snapshot.leader, snapshot.confirmed_at, -inf, snapshot.seated
        )
    if isinstance(given, Confirmation):
        current, changes = _confirm(current, given)
    elif isinstance(given, Seat):
        current, changes = _settle(
            current, current.leader, current.confirmed_at, current.known_until, given.held
        )
    elif isinstance(given, Stopped):
        current, changes = _settle(current, None, -inf, -inf, not current.exclusive)
    else:
        return current, expiry
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


def unknowing(snapshot: Snapshot) -> Snapshot:
    """The same elector's snapshot with nothing heard and no seat taken."""
    return _settle(snapshot, None, -inf, -inf, not snapshot.exclusive)[0]


def _confirm(snapshot: Snapshot, word: Confirmation) -> tuple[Snapshot, tuple[Change, ...]]:
    if _is_outdated(snapshot, word):
        return snapshot, ()
    previous, leader, at = snapshot.leader, word.leader, word.at
    confirmed, changes = _settle(snapshot, leader, at, at + snapshot.grace, snapshot.seated)
    if leader is None or leader == previous:
        return confirmed, changes
    return confirmed, (*changes, LeaderChange(previous, leader))


def _is_outdated(snapshot: Snapshot, word: Confirmation) -> bool:
    """A word is outdated if a newer one is known, or if its own grace has run out."""
    if word.at + snapshot.grace <= word.now or word.at < snapshot.confirmed_at:
        return True
    return word.at == snapshot.confirmed_at and not word.pushed


def _settle(
    before: Snapshot, leader: str | None, confirmed_at: float, known_until: float, seated: bool
) -> tuple[Snapshot, tuple[Change, ...]]:
    """The snapshot that follows, and whether a leadership of ours begins or ends with it.

    Built in one go: this is on the way from the wire to `is_leader`.
    """
    led = before.lead_until > -inf
    leads = leader == before.identity and seated and known_until > -inf
    after = Snapshot(
        before.identity,
        before.grace,
        leader,
        confirmed_at,
        known_until,
        known_until if leads else -inf,
        before.number + 1 if leads and not led else before.number,
        before.exclusive,
        seated,
    )
    if leads == led:
        return after, ()
    return after, (Elected(after.number) if leads else Demoted(after.number),)

"""The state machine alone: every short sequence of inputs, compared with a plain reference."""

from __future__ import annotations

import itertools
from math import inf
from operator import attrgetter

import pytest

from elector_thread._state.model import (
    Confirmation,
    Demoted,
    Elected,
    Input,
    LeaderChange,
    LockHeld,
    Snapshot,
    State,
    Stopped,
    Tick,
)
from elector_thread._state.rules import advance, deadline, leader_at, state_at

GRACE = 10.0
US, THEM = "pod-a", "pod-b"


def snapshot(**values: object) -> Snapshot:
    return Snapshot(US, GRACE, **values)  # type: ignore[arg-type]  # shorthand


values_of = attrgetter(*Snapshot.__slots__)


def play(*inputs: Input, start: Snapshot | None = None) -> tuple[Snapshot, list[object]]:
    current, changes = start or snapshot(), []
    for given in inputs:
        current, more = advance(current, given)
        changes += more
    return current, changes


def confirm(name: str | None, at: float, now: float | None = None, pushed: bool = False) -> Input:
    return Confirmation(name, at, at if now is None else now, pushed)


# --- by example ------------------------------------------------------------------------


def test_nothing_is_known_at_the_start() -> None:
    assert state_at(snapshot(), 0.0) is State.UNKNOWN
    assert leader_at(snapshot(), 0.0) is None
    assert deadline(snapshot()) == inf


def test_our_name_elects_us_for_the_grace_period() -> None:
    current, changes = play(confirm(US, at=1.0))
    assert changes == [Elected(1), LeaderChange(None, US)]
    assert state_at(current, 10.999) is State.LEADER
    assert state_at(current, 11.0) is State.UNKNOWN
    assert deadline(current) == 11.0


def test_another_name_makes_a_follower() -> None:
    current, changes = play(confirm(THEM, at=1.0))
    assert changes == [LeaderChange(None, THEM)]
    assert (state_at(current, 2.0), leader_at(current, 2.0)) == (State.FOLLOWER, THEM)
    assert leader_at(current, 11.0) is None


def test_another_name_demotes_before_the_leader_changes() -> None:
    _, changes = play(confirm(US, at=1.0), confirm(THEM, at=2.0))
    assert changes[2:] == [Demoted(1, "replaced"), LeaderChange(US, THEM)]


def test_time_alone_demotes_and_the_leader_is_remembered() -> None:
    current, changes = play(confirm(US, at=1.0), Tick(11.0), confirm(US, at=12.0))
    assert changes == [Elected(1), LeaderChange(None, US), Demoted(1, "expired"), Elected(2)]
    assert current.number == 2


def test_a_confirmation_that_comes_too_late_begins_a_new_leadership() -> None:
    _, changes = play(confirm(US, at=1.0), confirm(US, at=11.5))
    assert changes[2:] == [Demoted(1, "expired"), Elected(2)]


def test_an_answer_asked_for_before_the_news_does_not_overwrite_it() -> None:
    current, changes = play(confirm(THEM, at=5.0, pushed=True), confirm(US, at=4.0, now=6.0))
    assert changes == [LeaderChange(None, THEM)]
    assert current.leader == THEM


def test_news_of_the_same_instant_wins_over_an_answer() -> None:
    assert play(confirm(THEM, at=5.0, pushed=True), confirm(US, at=5.0))[0].leader == THEM
    assert play(confirm(US, at=5.0), confirm(THEM, at=5.0, pushed=True))[0].leader == THEM


def test_a_confirmation_older_than_the_grace_period_confirms_nothing() -> None:
    current, changes = play(confirm(US, at=1.0, now=11.0))
    assert (changes, state_at(current, 11.0)) == ([], State.UNKNOWN)


def test_stopping_forgets_everything_but_the_number() -> None:
    current, changes = play(confirm(US, at=1.0), Stopped(2.0), confirm(US, at=3.0))
    assert changes[2:] == [Demoted(1, "stopped"), Elected(2), LeaderChange(None, US)]
    assert current.number == 2


def test_the_lock_decides_within_a_pod_that_leads() -> None:
    start = snapshot(needs_lock=True, holds_lock=False)
    current, changes = play(confirm(US, at=1.0), start=start)
    assert (changes, state_at(current, 2.0)) == ([LeaderChange(None, US)], State.FOLLOWER)
    current, changes = play(LockHeld(True, 2.0), start=current)
    assert (changes, state_at(current, 2.0)) == ([Elected(1)], State.LEADER)
    current, changes = play(LockHeld(False, 3.0), start=current)
    assert (changes, state_at(current, 3.0)) == ([Demoted(1, "replaced")], State.FOLLOWER)


def test_a_lock_taken_after_the_grace_period_elects_no_leader() -> None:
    start, _ = play(confirm(US, at=1.0), start=snapshot(needs_lock=True, holds_lock=False))
    current, changes = play(LockHeld(True, 11.0), start=start)
    assert (changes, state_at(current, 11.0)) == ([], State.UNKNOWN)


def test_stopping_gives_up_the_lock() -> None:
    current, _ = play(
        confirm(US, at=1.0), LockHeld(True, 1.0), Stopped(2.0), start=snapshot(needs_lock=True)
    )
    assert not current.holds_lock
    assert current.needs_lock


def test_a_confirmation_without_a_name_makes_a_follower_and_changes_nothing() -> None:
    current, changes = play(confirm(None, at=1.0))
    assert (changes, state_at(current, 2.0)) == ([], State.FOLLOWER)


# --- exhaustively ------------------------------------------------------------------------

STEPS = {
    "we, now": lambda t: confirm(US, at=t),
    "they, now": lambda t: confirm(THEM, at=t),
    "we, pushed": lambda t: confirm(US, at=t, pushed=True),
    "they, asked 4 s ago": lambda t: confirm(THEM, at=t - 4.0, now=t),
    "we, asked 4 s ago": lambda t: confirm(US, at=t - 4.0, now=t),
    "we, 11 s old": lambda t: confirm(US, at=t - 11.0, now=t),
    "tick": Tick,
    "stop": Stopped,
    "lock held": lambda t: LockHeld(True, t),
    "lock lost": lambda t: LockHeld(False, t),
}
PAUSES = (3.0, 12.0)


def test_every_sequence_of_three_steps_follows_the_reference() -> None:
    """16,000 runs: the leader is computed again from the inputs at every step."""
    alphabet = list(itertools.product(STEPS, PAUSES))
    for sequence in itertools.product(alphabet, repeat=3):
        for needs_lock in (False, True):
            check_sequence(sequence, needs_lock)


def check_sequence(sequence: tuple[tuple[str, float], ...], needs_lock: bool) -> None:
    current = snapshot(needs_lock=needs_lock, holds_lock=not needs_lock)
    now, number, leading = 100.0, 0, False
    last_leader: str | None = None
    newest, named, holds_lock = -inf, None, not needs_lock
    for step, pause in sequence:
        now += pause
        given = STEPS[step](now)
        current, changes = advance(current, given)
        # the reference, in the words of the contract
        if isinstance(given, Stopped):
            newest, named, holds_lock, last_leader = -inf, None, not needs_lock, None
        elif isinstance(given, LockHeld):
            holds_lock = given.held
        elif isinstance(given, Confirmation):
            fresh = given.at + GRACE > now
            newer = given.at > newest or (given.at == newest and given.pushed)
            if fresh and newer:
                newest, named = given.at, given.leader
        known = now < newest + GRACE
        leads = known and named == US and holds_lock
        expected = State.LEADER if leads else State.FOLLOWER if known else State.UNKNOWN
        assert state_at(current, now) is expected, (sequence, needs_lock)
        assert leader_at(current, now) == (named if known else None), (sequence, needs_lock)
        # changes alternate, have the right numbers and lead to the right state
        for change in changes:
            if isinstance(change, Elected):
                number += 1
                assert not leading, sequence
                assert change.number == number, sequence
                leading = True
            elif isinstance(change, Demoted):
                assert leading, sequence
                assert change.number == number, sequence
                leading = False
            else:
                assert change.previous == last_leader, sequence
                assert change.current != last_leader, sequence
                last_leader = change.current
        assert leading is leads, (sequence, needs_lock)
        assert current.number == number, sequence


@pytest.mark.parametrize(
    "given", [Tick(0.0), Stopped(0.0), LockHeld(True, 0.0), confirm(THEM, 0.0)]
)
def test_a_snapshot_is_never_changed_in_place(given: Input) -> None:
    before = snapshot()
    advance(before, given)
    assert values_of(before) == values_of(snapshot())

"""The rules with a Lease: sequences of inputs, compared with a plain reference of their own.

The reference keeps what came in and computes the state again at every step. It knows nothing
of deadlines, and shares no code with the rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elector_thread._state.model import (
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
    Tick,
)
from elector_thread._state.rules import advance, deadline, leader_at, state_at

GRACE = 10.0
US, THEM, THIRD = "pod-a", "pod-b", "pod-c"


def start(*, needs_lease: bool = True, needs_lock: bool = False) -> Snapshot:
    return Snapshot(
        US, GRACE, needs_lease=needs_lease, needs_lock=needs_lock, holds_lock=not needs_lock
    )


def play(*inputs: Input, snapshot: Snapshot | None = None) -> tuple[Snapshot, list[Change]]:
    current, changes = snapshot or start(), []
    for one in inputs:
        current, more = advance(current, one)
        changes += more
    return current, changes


def says(name: str, at: float, now: float | None = None, pushed: bool = False) -> Input:
    return Confirmation(name, at, at if now is None else now, pushed)


def ours(at: float, now: float | None = None, uid: str = "term-1") -> Input:
    reading = LeaseReading(at, US, uid, int(uid.rpartition("-")[2]), ours=True)
    return LeaseRead(reading, at if now is None else now)


def theirs(at: float, now: float | None = None, holder: str = THIRD) -> Input:
    reading = LeaseReading(at, holder, "term-9", 9, ours=False)
    return LeaseRead(reading, at if now is None else now)


def gone(at: float, now: float | None = None) -> Input:
    return LeaseRead(LeaseReading(at), at if now is None else now)


# --- by example ------------------------------------------------------------------------------


def test_the_word_of_the_sidecar_alone_is_unknown() -> None:
    current, changes = play(says(US, 1.0))
    assert (changes, state_at(current, 2.0), leader_at(current, 2.0)) == ([], State.UNKNOWN, None)


def test_a_lease_alone_is_unknown() -> None:
    current, changes = play(ours(1.0))
    assert (changes, state_at(current, 2.0)) == ([], State.UNKNOWN)


def test_both_elect_us_until_the_older_of_them_expires() -> None:
    current, changes = play(says(US, 1.0), ours(2.0, 3.0))
    assert changes == [Elected(1), LeaderChange(None, US)]
    assert (current.lead_until, deadline(current), current.fence) == (11.0, 11.0, 1)
    current, _ = play(says(US, 9.0), snapshot=current)
    assert current.lead_until == 12.0


def test_a_word_that_expired_while_the_lease_was_read_elects_nobody() -> None:
    current, changes = play(says(US, 1.0), ours(10.5, 11.5))
    assert (changes, current.number, state_at(current, 11.5)) == ([], 0, State.UNKNOWN)


def test_a_lease_that_expired_before_the_lock_was_taken_elects_nobody() -> None:
    leading, _ = play(says(US, 1.0), ours(1.0), snapshot=start(needs_lock=True))
    current, changes = play(says(US, 9.0), LockHeld(True, 11.0), snapshot=leading)
    assert (changes, state_at(current, 11.0)) == ([], State.UNKNOWN)


def test_a_reading_that_was_asked_before_the_present_naming_does_not_count() -> None:
    current, changes = play(
        says(US, 1.0), ours(1.0), says(THEM, 2.0), says(US, 4.0), ours(3.0, now=5.0)
    )
    assert changes[-2:] == [Demoted(1, "replaced"), LeaderChange(US, THEM)]
    assert state_at(current, 5.0) is State.UNKNOWN
    current, changes = play(ours(4.5, now=6.0), snapshot=current)
    assert changes == [Elected(2), LeaderChange(THEM, US)]


def test_the_same_after_the_word_has_expired() -> None:
    current, _ = play(says(US, 1.0), ours(5.0), says(US, 12.0))
    assert state_at(current, 12.0) is State.UNKNOWN


@pytest.mark.parametrize(
    ("reading", "leader", "state", "reason"),
    [
        (theirs(2.0), THIRD, State.FOLLOWER, "replaced"),
        (theirs(2.0, holder=US), None, State.UNKNOWN, "unverified"),
        (gone(2.0), None, State.UNKNOWN, "unverified"),
    ],
    ids=["another holder", "another pod of our name", "no Lease"],
)
def test_a_lease_that_does_not_name_us_demotes(
    reading: Input, leader: str | None, state: State, reason: Reason
) -> None:
    current, changes = play(says(US, 1.0), ours(1.0), reading)
    assert changes[2:][:1] == [Demoted(1, reason)]
    assert (state_at(current, 2.0), leader_at(current, 2.0)) == (state, leader)
    current, changes = play(says(US, 3.0), says(US, 4.0, pushed=True), snapshot=current)
    assert (changes, state_at(current, 4.0)) == ([], state)


def test_a_new_uid_is_a_new_leadership_with_its_own_fence() -> None:
    current, changes = play(says(US, 1.0), ours(1.0), ours(2.0, uid="term-2"))
    assert changes == [Elected(1), LeaderChange(None, US), Demoted(1, "replaced"), Elected(2)]
    assert current.fence == 2


def test_the_newest_reading_counts_not_the_one_that_came_last() -> None:
    current, _ = play(says(US, 1.0), theirs(3.0), ours(2.0, now=4.0))
    assert state_at(current, 4.0) is State.FOLLOWER


# --- against the reference ---------------------------------------------------------------------


@dataclass
class Reference:
    """What came in, and what follows from it in the words of the contract."""

    needs_lease: bool
    holds_lock: bool
    named: str | None = None
    named_at: float = -inf
    named_since: float = -inf
    reading: LeaseReading | None = None
    led_term: str | None = None
    leading: bool = False
    number: int = 0
    leaders: list[str] = field(default_factory=list)
    lock_at_first: bool = True

    def __post_init__(self) -> None:
        self.lock_at_first = self.holds_lock

    def fresh(self, at: float, now: float) -> bool:
        return at <= now < at + GRACE

    def leads(self, now: float) -> bool:
        """Promise 1, word for word."""
        named = self.named == US and self.fresh(self.named_at, now) and self.holds_lock
        if not self.needs_lease or not named:
            return named
        reading = self.reading
        return (
            reading is not None
            and reading.ours
            and self.fresh(reading.at, now)
            and reading.at >= self.named_since
        )

    def leader(self, now: float) -> str | None:
        """Whom a reader is shown."""
        word = self.fresh(self.named_at, now)
        if self.named != US or not self.needs_lease:
            return self.named if word else None
        reading = self.reading
        if reading is None or not self.fresh(reading.at, now) or reading.at < self.named_since:
            return None
        if reading.ours:
            return US if word else None
        return None if reading.holder == US else reading.holder

    def state(self, now: float) -> State:
        if self.leads(now):
            return State.LEADER
        return State.UNKNOWN if self.leader(now) is None else State.FOLLOWER

    def take(self, given: Input) -> list[Change]:
        """Take in one input; the changes that are to be announced."""
        changes = self._changes(given.now)  # time comes first
        if isinstance(given, Stopped):
            self.named, self.named_at, self.reading = None, -inf, None
            self.holds_lock = self.lock_at_first
            changes += self._changes(given.now, stopped=True)
            self.leaders = []
            return changes
        if isinstance(given, LockHeld):
            self.holds_lock = given.held
        elif isinstance(given, Confirmation):
            self._confirm(given)
        elif isinstance(given, LeaseRead):
            known = self.reading
            if self.fresh(given.reading.at, given.now) and (
                known is None or given.reading.at >= known.at
            ):
                self.reading = given.reading
        return changes + self._changes(given.now)

    def _confirm(self, given: Confirmation) -> None:
        newer = given.at > self.named_at or (given.at == self.named_at and given.pushed)
        if not newer or not self.fresh(given.at, given.now):
            return
        if given.leader != self.named or not self.fresh(self.named_at, given.now):
            self.named_since = given.now
        self.named, self.named_at = given.leader, given.at

    def _reason(self, now: float) -> Reason:
        if self.leader(now) is not None:
            return "replaced"
        named = self.named == US and self.fresh(self.named_at, now)
        return "unverified" if self.needs_lease and named else "expired"

    def _changes(self, now: float, *, stopped: bool = False) -> list[Change]:
        changes: list[Change] = []
        leads = self.leads(now)
        term = self.reading.uid if self.reading is not None and self.needs_lease else None
        if self.leading and (not leads or term != self.led_term):
            changes.append(Demoted(self.number, "stopped" if stopped else self._reason(now)))
            self.leading = False
        if leads and not self.leading:
            self.number += 1
            self.leading, self.led_term = True, term
            changes.append(Elected(self.number))
        leader = self.leader(now)
        if leader is not None and [leader] != self.leaders[-1:]:
            changes.append(LeaderChange(self.leaders[-1] if self.leaders else None, leader))
            self.leaders.append(leader)
        return changes


Step = Callable[[float], Input]
STEPS: dict[str, Step] = {
    "named, now": lambda t: says(US, t),
    "named, asked 4 s ago": lambda t: says(US, t - 4.0, t),
    "another named, pushed": lambda t: says(THEM, t, pushed=True),
    "Lease ours": lambda t: ours(t),
    "Lease ours, asked 4 s ago": lambda t: ours(t - 4.0, t),
    "Lease ours, asked 11 s ago": lambda t: ours(t - 11.0, t),
    "Lease ours, new term": lambda t: ours(t, uid="term-2"),
    "Lease of another": lambda t: theirs(t),
    "Lease of another, asked 4 s ago": lambda t: theirs(t - 4.0, t),
    "Lease of our name": lambda t: theirs(t, holder=US),
    "no Lease": lambda t: gone(t),
    "tick": Tick,
    "stop": Stopped,
    "lock held": lambda t: LockHeld(True, t),
    "lock lost": lambda t: LockHeld(False, t),
}
PAUSES = (0.0, 3.0, 7.0, 12.0)
Sequence = Iterable[tuple[str, float]]


def check(sequence: Sequence, *, needs_lease: bool = True, needs_lock: bool = False) -> None:
    """Play ``sequence`` to the rules and to the reference, and compare all there is to see."""
    current = start(needs_lease=needs_lease, needs_lock=needs_lock)
    reference = Reference(needs_lease, holds_lock=not needs_lock)
    instant, leading, seen = 100.0, False, []
    for step, pause in sequence:
        for between in (instant + pause / 2, instant + pause):  # before anything is published
            assert state_at(current, between) is reference.state(between)
            assert leader_at(current, between) == reference.leader(between)
        instant += pause
        given = STEPS[step](instant)
        current, changes = advance(current, given)
        seen.append((step, pause, changes))
        assert list(changes) == reference.take(given), seen
        assert state_at(current, instant) is reference.state(instant), seen
        assert leader_at(current, instant) == reference.leader(instant), seen
        assert current.number == reference.number, seen
        for change in changes:
            if not isinstance(change, LeaderChange):
                assert isinstance(change, Demoted) is leading, seen
                leading = not leading
        assert leading is (state_at(current, instant) is State.LEADER), seen
        if leading and needs_lease:
            assert reference.reading is not None
            assert current.fence == reference.reading.fence, seen


def test_every_sequence_of_three_steps_follows_the_reference() -> None:
    alphabet = list(itertools.product(STEPS, (3.0, 12.0)))
    for sequence in itertools.product(alphabet, repeat=3):
        check(sequence)


def test_every_step_follows_the_reference_wherever_it_strikes_a_leader() -> None:
    """Two arbitrary steps, after any of the ways in which a leadership may begin."""
    beginnings: list[list[tuple[str, float]]] = [
        [("named, now", 0.0), ("Lease ours", 1.0)],
        [("named, now", 0.0), ("Lease ours", 9.0)],
        [("another named, pushed", 0.0), ("named, now", 5.0), ("Lease ours", 4.0)],
        [("named, now", 0.0), ("Lease of another", 1.0), ("Lease ours", 1.0)],
    ]
    alphabet = list(itertools.product(STEPS, PAUSES))
    for beginning in beginnings:
        for pair in itertools.product(alphabet, repeat=2):
            for needs_lock in (False, True):
                lock = [("lock held", 0.0)] if needs_lock else []
                check([*lock, *beginning, *pair], needs_lock=needs_lock)


steps = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(PAUSES) | st.floats(0, 14, width=16)),
    max_size=30,
)


@given(steps, st.booleans())
def test_long_sequences_follow_the_reference(sequence: Sequence, needs_lock: bool) -> None:
    check(sequence, needs_lock=needs_lock)


@given(steps, st.booleans())
def test_without_a_need_for_it_the_lease_changes_nothing(
    sequence: list[tuple[str, float]], needs_lock: bool
) -> None:
    """The same results with all readings as with none."""
    check(sequence, needs_lease=False, needs_lock=needs_lock)
    outcomes = []
    for with_readings in (True, False):
        current, instant = start(needs_lease=False, needs_lock=needs_lock), 100.0
        changes: list[Change] = []
        for step, pause in sequence:
            instant += pause
            one = STEPS[step](instant)
            if isinstance(one, LeaseRead) and not with_readings:
                one = Tick(instant)  # the time passes all the same
            current, more = advance(current, one)
            changes += more
        outcomes.append((changes, state_at(current, instant), leader_at(current, instant)))
    assert outcomes[0] == outcomes[1]


@given(steps)
def test_an_input_never_changes_a_snapshot_in_place(sequence: Sequence) -> None:
    current, instant = start(), 100.0
    for step, pause in sequence:
        instant += pause
        before = [getattr(current, name) for name in Snapshot.__slots__]
        after, _ = advance(current, STEPS[step](instant))
        assert [getattr(current, name) for name in Snapshot.__slots__] == before
        current = after

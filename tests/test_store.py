"""The store of the state: its writers, its readers and those who wait for a change."""

from __future__ import annotations

import itertools
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from elector_thread import LeaderChange, State
from elector_thread._state import store as store_module
from elector_thread._state.clock import Clock, Flag
from elector_thread._state.model import Confirmation, Snapshot
from elector_thread._state.rules import state_at
from elector_thread._state.store import MAX_PENDING_CHANGES, Store

from .scripted import PATIENCE

US, THEM = "pod-a", "pod-b"
GRACE = 30.0


class ManualClock(Clock):
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.instant = 1000.0

    def now(self) -> float:  # type: ignore[override]  # static in the real one
        return self.instant


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(Snapshot(US, GRACE), clock)


def confirm(store: Store, *leaders: str) -> None:
    for leader in leaders:
        store.confirm(leader, store.now(), pushed=True)


def state_of(store: Store) -> State:
    return state_at(store.snapshot, store.now())


def changes_of(store: Store) -> list[LeaderChange]:
    found = []
    while (change := store.next_change()) is not None:
        found.append(change)
    return found


# --- leader changes ----------------------------------------------------------------------


def test_leader_changes_are_kept_in_order(store: Store) -> None:
    confirm(store, "x", "y", "y", "z")
    assert changes_of(store) == [
        LeaderChange(None, "x"),
        LeaderChange("x", "y"),
        LeaderChange("y", "z"),
    ]


def test_changes_that_are_not_announced_fold_into_one(store: Store) -> None:
    confirm(store, "x", *(f"pod-{n}" for n in range(MAX_PENDING_CHANGES)))
    assert changes_of(store) == [LeaderChange(None, f"pod-{MAX_PENDING_CHANGES - 1}")]


def test_changes_that_lead_back_to_the_same_leader_fold_into_none(store: Store) -> None:
    confirm(store, "x")
    assert changes_of(store) == [LeaderChange(None, "x")]
    confirm(store, *(f"pod-{n}" for n in range(MAX_PENDING_CHANGES)), "x")
    assert changes_of(store) == []
    confirm(store, "y")
    assert changes_of(store) == [LeaderChange("x", "y")]


# --- leaderships ---------------------------------------------------------------------------


def test_state_and_leadership_change_together(store: Store) -> None:
    assert store.leadership is None
    confirm(store, US)
    first = store.leadership
    assert first is not None
    assert (state_of(store), first.number, first.ended) == (State.LEADER, 1, False)
    confirm(store, THEM)
    assert (state_of(store), first.ended) == (State.FOLLOWER, True)
    confirm(store, US)
    second = store.leadership
    assert second is not None
    assert (second.number, second.ended, first.ended) == (2, False, True)


def test_a_confirmation_of_the_same_leader_keeps_the_leadership(
    store: Store, clock: ManualClock
) -> None:
    confirm(store, US)
    first = store.leadership
    clock.instant += GRACE - 1
    confirm(store, US)
    clock.instant += GRACE - 1
    assert store.leadership is first
    assert first is not None
    assert not first.ended


def test_a_leadership_ends_with_the_grace_period_before_it_is_published(
    store: Store, clock: ManualClock
) -> None:
    confirm(store, US)
    clock.instant += GRACE
    assert state_of(store) is State.UNKNOWN
    assert store.leadership is not None
    assert store.leadership.ended
    assert store.lead_until(1) > 0, "not published yet"
    store.expire()
    assert store.lead_until(1) == float("-inf")


def test_the_end_wakes_those_who_wait_for_it() -> None:
    store = Store(Snapshot(US, GRACE))
    confirm(store, US)
    leadership = store.leadership
    assert leadership is not None
    waiting, results = threading.Event(), []

    def wait() -> None:
        waiting.set()
        results.append(leadership.wait(PATIENCE))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(PATIENCE)
    confirm(store, THEM)
    thread.join(PATIENCE)
    assert results == [True]


# --- closed --------------------------------------------------------------------------------


def test_a_closed_store_knows_nothing_and_takes_no_confirmation(store: Store) -> None:
    confirm(store, "x", US)
    leadership = store.leadership
    store.close()
    assert leadership is not None
    assert leadership.ended
    assert state_of(store) is State.UNKNOWN
    assert changes_of(store) == []
    confirm(store, US)
    assert state_of(store) is State.UNKNOWN
    assert store.leadership is leadership
    assert changes_of(store) == []


def test_a_lock_taken_after_the_close_makes_no_leader(clock: ManualClock) -> None:
    store = Store(Snapshot(US, GRACE, needs_lock=True, holds_lock=False), clock)
    confirm(store, US)
    assert state_of(store) is State.FOLLOWER
    store.close()
    store.set_lock_held(True)
    confirm(store, US)
    assert state_of(store) is State.UNKNOWN
    assert not store.snapshot.holds_lock


def test_the_lock_makes_and_unmakes_a_leader(clock: ManualClock) -> None:
    store = Store(Snapshot(US, GRACE, needs_lock=True, holds_lock=False), clock)
    confirm(store, US)
    store.set_lock_held(True)
    assert state_of(store) is State.LEADER
    store.set_lock_held(False)
    assert state_of(store) is State.FOLLOWER


def test_a_void_store_ends_the_leadership_without_its_lock(store: Store) -> None:
    """As in a forked child, where the lock may have been inherited locked."""
    confirm(store, US)
    leadership = store.leadership
    locked, done = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with store._lock:
            locked.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=hold_the_lock)
    thread.start()
    assert locked.wait(PATIENCE)
    store.void()
    done.set()
    thread.join(PATIENCE)
    assert leadership is not None
    assert leadership.ended
    assert state_of(store) is State.UNKNOWN


def close_at_line(store: Store, number: int) -> bool:
    """Confirm that we lead; close the store, as a signal handler would, before line ``number``.

    Lines are counted as they run, in the module of the store. False if so many never ran.
    """
    lines = itertools.count()
    closed = False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal closed
        if frame.f_code.co_filename != store_module.__file__:
            return None
        if event == "line" and not closed and next(lines) == number:
            closed = True
            sys.settrace(None)
            store.close()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        confirm(store, US)
    finally:
        sys.settrace(before)
    return closed


def test_a_close_in_the_middle_of_a_confirmation_leaves_the_state_unknown() -> None:
    """By a signal handler on the same thread, which may strike at any line."""
    for number in itertools.count():
        store = Store(Snapshot(US, GRACE))
        confirm(store, THEM)
        if not close_at_line(store, number):
            break
        assert state_of(store) is State.UNKNOWN, number
        assert store.closed
        assert store.leadership is None or store.leadership.ended, number
    assert number > 10, "the confirmation was traced"


def test_a_close_at_any_line_ends_the_leadership_that_was_confirmed_again() -> None:
    for number in itertools.count():
        store = Store(Snapshot(US, GRACE))
        confirm(store, US)
        leadership = store.leadership
        if not close_at_line(store, number):
            break
        assert leadership is not None
        assert leadership.ended, number
        assert state_of(store) is State.UNKNOWN, number
    assert number > 5, "the confirmation was traced"


# --- waiting -------------------------------------------------------------------------------


def is_known(snapshot: Snapshot, instant: float) -> bool:
    return state_at(snapshot, instant) is not State.UNKNOWN


def test_what_is_true_already_is_not_waited_for(store: Store) -> None:
    confirm(store, THEM)
    assert store.wait_for(is_known, timeout=None)


def test_a_wait_ends_with_its_timeout() -> None:
    store = Store(Snapshot(US, GRACE))
    assert not store.wait_for(is_known, timeout=0.0)
    assert not store.wait_for(is_known, timeout=-1.0)
    assert not store.wait_for(is_known, timeout=0.01)


@pytest.mark.parametrize("close", [False, True], ids=["confirmed", "closed"])
def test_a_wait_ends_with_what_it_waits_for_or_with_the_close(close: bool) -> None:
    store = Store(Snapshot(US, GRACE))
    looked, results = threading.Event(), []

    def wanted(snapshot: Snapshot, instant: float) -> bool:
        looked.set()
        return is_known(snapshot, instant)

    thread = threading.Thread(target=lambda: results.append(store.wait_for(wanted, None)))
    thread.start()
    assert looked.wait(PATIENCE)
    store.close() if close else confirm(store, THEM)
    thread.join(PATIENCE)
    assert results == [not close]


def test_a_wait_for_a_closed_store_ends_at_once(store: Store) -> None:
    store.close()
    assert not store.wait_for(is_known, timeout=None)


def test_only_within_the_block_does_a_change_set_the_flag(store: Store) -> None:
    flag = Flag()
    confirm(store, "x")
    assert not flag.is_set()
    with store.waking(flag):
        confirm(store, "y")
        assert flag.is_set()
        flag.clear()
        confirm(store, "y")
        assert not flag.is_set(), "the same leader again is no change"
    confirm(store, "z")
    assert not flag.is_set()


def test_a_change_wakes_after_the_snapshot_was_replaced(store: Store) -> None:
    seen: list[Any] = []

    class Looking(Flag):
        def set(self) -> None:
            seen.append((state_of(store), store.leadership is not None))

    with store.waking(Looking()):
        confirm(store, US)
    assert seen == [(State.LEADER, True)]


def test_knowing_the_same_leader_again_after_the_grace_period_wakes(
    store: Store, clock: ManualClock
) -> None:
    confirm(store, THEM)
    clock.instant += GRACE
    flag = Flag()
    with store.waking(flag):
        confirm(store, THEM)
        assert flag.is_set()
    assert changes_of(store) == [LeaderChange(None, THEM)]


def test_the_end_of_the_grace_period_wakes_when_it_is_published(
    store: Store, clock: ManualClock
) -> None:
    confirm(store, US)
    flag = Flag()
    with store.waking(flag):
        store.expire()
        assert not flag.is_set()
        clock.instant += GRACE
        store.expire()
        assert flag.is_set()


@pytest.mark.parametrize("count", ["news", "recoveries"])
def test_news_and_recoveries_are_counted_and_wake(store: Store, count: str) -> None:
    flag = Flag()
    with store.waking(flag):
        (store.add_news if count == "news" else store.add_recovery)()
        assert flag.is_set()
    assert getattr(store, count) == 1


def test_a_confirmation_carries_the_instant_at_which_it_is_taken_in(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    advance = store_module.advance

    def note(snapshot: Snapshot, confirmation: Any) -> Any:
        given.append(confirmation)
        return advance(snapshot, confirmation)

    monkeypatch.setattr(store_module, "advance", note)
    store.confirm(THEM, clock.instant - 4.0, pushed=True)
    assert given == [Confirmation(THEM, clock.instant - 4.0, clock.instant, True)]

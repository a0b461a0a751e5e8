"""The counts, the newest problem, the observers, and the callback that takes too long."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from elector_thread._state import health as health_module
from elector_thread._state.clock import is_held_here
from elector_thread._state.health import Health, observers
from elector_thread._state.model import Counts
from elector_thread._state.occurrences import (
    CallbackFailed,
    CallbackOverran,
    Event,
    EventRead,
    EventUnreadable,
    GetAnswered,
    GetFailed,
    LeadershipAnnounced,
    StreamEnded,
    StreamOpened,
    UnexpectedError,
)

from .scripted import PATIENCE

EVENTS: dict[str, tuple[Event, str | None, str | None]] = {
    "answered": (GetAnswered(0.1), "answers", None),
    "failed": (GetFailed("HTTP 500", 0.1), "failures", "HTTP 500"),
    "stream opened": (StreamOpened(0.1), "streams", None),
    "stream ended": (StreamEnded("cut short", absent=False), None, "cut short"),
    "no stream": (StreamEnded("HTTP 404", absent=True), None, "HTTP 404"),
    "read": (EventRead(), "events", None),
    "unreadable": (EventUnreadable("expected JSON"), "unreadable", "expected JSON"),
    "announced": (LeadershipAnnounced("pod-a", 1, ended=False, reason=None), None, None),
    "callback failed": (
        CallbackFailed("on_elected callback f", ValueError("secret")),
        "callback_errors",
        "on_elected callback f raised ValueError",
    ),
    "callback overran": (CallbackOverran("f", 7.0), "overruns", None),
    "unexpected": (
        UnexpectedError("elector-poll", KeyError("secret")),
        None,
        "unexpected KeyError in elector-poll",
    ),
}


@pytest.fixture
def seen() -> list[Event]:
    return []


@pytest.fixture
def health(seen: list[Event]) -> Health:
    return Health(seen.append)


@pytest.fixture
def observed() -> Iterator[list[Event]]:
    """What an observer of every elector in this process sees."""
    found: list[Event] = []
    observers.append(found.append)
    yield found
    observers.remove(found.append)


@pytest.mark.parametrize(("event", "field", "problem"), EVENTS.values(), ids=EVENTS)
def test_an_event_is_counted_remembered_if_it_is_a_problem_and_passed_on(
    health: Health,
    seen: list[Event],
    observed: list[Event],
    event: Event,
    field: str | None,
    problem: str | None,
) -> None:
    health.record(event)
    expected = Counts() if field is None else Counts(**{field: 1})
    assert health.counts == expected
    assert health.last_error == problem
    assert seen == observed == [event]


def test_a_success_does_not_forget_the_newest_problem(health: Health) -> None:
    health.record(GetFailed("HTTP 500", 0.1))
    health.record(EventUnreadable("expected JSON"))
    health.record(GetAnswered(0.1))
    assert health.last_error == "expected JSON"
    assert health.counts == Counts(answers=1, failures=1, unreadable=1)


def test_observers_are_called_after_the_counts_and_without_the_lock() -> None:
    """A slow observer, or one that reads the status or records, delays no other thread."""
    calls: list[tuple[Event, int, bool]] = []

    def observe(event: Event) -> None:
        calls.append((event, health.counts.answers, is_held_here(health._lock)))
        if len(calls) == 1:
            health.record(GetFailed("meanwhile", 0.1))

    health = Health(observe)
    observers.append(observe)
    try:
        health.record(GetAnswered(0.1))
    finally:
        observers.remove(observe)
    assert [event for event, _, _ in calls] == [
        *(
            GetAnswered(0.1),
            GetFailed("meanwhile", 0.1),
            GetFailed("meanwhile", 0.1),
            GetAnswered(0.1),
        )
    ]
    assert all(answers == 1 and not locked for _, answers, locked in calls)


def test_no_count_is_lost_between_threads(health: Health) -> None:
    start = threading.Barrier(4)

    def record() -> None:
        start.wait(PATIENCE)
        for _ in range(500):
            health.record(EventRead())

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert health.counts.events == 2000


# --- callbacks that take too long ----------------------------------------------------------------


@pytest.fixture
def at_110(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "now", lambda: 110.0)


@pytest.mark.usefixtures("at_110")
def test_an_overrun_is_recorded_once_for_each_call(health: Health, seen: list[Event]) -> None:
    health.running = ("on_elected callback f", 100.0)
    for _ in range(3):
        health.check_overrun(longest=5.0)
    assert seen == [CallbackOverran("on_elected callback f", 10.0)]
    health.running = ("on_elected callback f", 101.0)
    health.check_overrun(longest=5.0)
    assert len(seen) == 2
    assert health.counts.overruns == 2


@pytest.mark.usefixtures("at_110")
def test_the_same_callback_called_at_the_same_instant_is_another_call(
    health: Health, seen: list[Event]
) -> None:
    for name in ("on_elected callback f", "on_elected callback f"):
        health.running = (name, 100.0)  # a new tuple
        health.check_overrun(longest=5.0)
    assert len(seen) == 2


@pytest.mark.usefixtures("at_110")
def test_nothing_overruns_while_no_callback_runs_or_within_the_limit(
    health: Health, seen: list[Event]
) -> None:
    health.check_overrun(longest=5.0)
    health.running = ("on_elected callback f", 105.1)
    health.check_overrun(longest=5.0)
    assert seen == []


@pytest.mark.usefixtures("at_110")
def test_two_threads_that_look_at_once_record_one_overrun(
    health: Health, seen: list[Event]
) -> None:
    health.running = ("on_elected callback f", 100.0)
    start = threading.Barrier(4)

    def check() -> None:
        start.wait(PATIENCE)
        health.check_overrun(longest=5.0)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(seen) == 1

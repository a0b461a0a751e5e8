"""``while_leader``: a thread of its own for each leadership, never two at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from elector_thread import Leadership
from elector_thread._state import backoff

from .conftest import MakeElector
from .polling import until
from .scripted import PATIENCE, ScriptedServer
from .test_callbacks import Journal, leading, seen

__all__ = ["seen"]


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are recorded instead of waited for."""
    pauses: list[float] = []
    wait = Leadership.wait

    def recorded(self: Leadership, timeout: float | None = None) -> bool:
        if threading.current_thread().name.startswith("elector-task") and timeout:
            pauses.append(timeout)
            timeout = 0
        return wait(self, timeout)

    monkeypatch.setattr(Leadership, "wait", recorded)
    return pauses


def test_it_runs_for_each_leadership_in_a_daemon_thread_of_its_own(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    @elector.while_leader
    def work(leadership: Leadership) -> None:
        thread = threading.current_thread()
        seen.add((leadership.number, thread.name, thread.daemon))
        leadership.wait()
        seen.add(("over", leadership.number))

    leading(server, elector)
    seen.wait(1)
    server.elect("pod-b")
    seen.wait(2)
    server.elect("pod-a")
    seen.wait(3)
    assert elector.stop()
    name = "elector-task-" + work.__qualname__
    assert seen.entries == [(1, name, True), ("over", 1), (2, name, True), ("over", 2)]


def test_returning_is_enough_for_one_leadership(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    elector.while_leader(lambda: seen.add("ran"))
    leading(server, elector)
    seen.wait(1)
    told = threading.Event()
    elector.on_elected(told.set)
    assert told.wait(PATIENCE)
    assert seen.entries == ["ran"]


def test_one_that_outlives_its_leadership_delays_the_next(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    release = threading.Event()
    running = threading.Semaphore(1)

    def stubborn(leadership: Leadership) -> None:
        assert running.acquire(blocking=False), "two at once"
        seen.add(leadership.number)
        release.wait(PATIENCE)
        running.release()

    elector.while_leader(stubborn)
    leading(server, elector)
    seen.wait(1)
    for name in ("pod-b", "pod-a", "pod-b", "pod-a"):
        server.elect(name)
        until(lambda name=name: elector.leader == name)
    told: list[int] = []
    elector.on_elected(lambda leadership: told.append(leadership.number))
    until(lambda: bool(told))
    assert seen.entries == [1]
    release.set()
    assert seen.wait(2) == [1, told[0]]
    assert elector.status().counts.callback_errors == 0


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_one_that_raises_is_called_again_with_growing_pauses(
    server: ScriptedServer,
    make_elector: MakeElector,
    seen: Journal,
    no_pause: list[float],
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    elector = make_elector()
    calls = 0

    def work(leadership: Leadership) -> None:
        nonlocal calls
        calls += 1
        if calls < 8:
            raise error("boom")
        seen.add(calls)

    elector.while_leader(work)
    leading(server, elector)
    assert seen.wait(1) == [8]
    assert all(0 <= pause <= 2**attempt for attempt, pause in enumerate(no_pause))
    assert len(no_pause) == 7
    assert elector.status().counts.callback_errors == 7
    assert "while_leader function" in caplog.text


def test_after_a_long_healthy_run_the_pauses_begin_anew(
    server: ScriptedServer,
    make_elector: MakeElector,
    seen: Journal,
    no_pause: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "HEALTHY", 0.0)  # every run was long enough
    elector = make_elector()

    def work(leadership: Leadership) -> None:
        seen.add(leadership.number)
        if len(seen.entries) < 8:
            raise ValueError("boom")

    elector.while_leader(work)
    leading(server, elector)
    assert seen.wait(8) == [1] * 8
    assert elector.stop()
    assert len(no_pause) == 7
    assert all(0 <= pause <= 1 for pause in no_pause)


def test_the_pause_ends_with_the_leadership_and_no_call_follows(
    server: ScriptedServer,
    make_elector: MakeElector,
    seen: Journal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elector = make_elector()
    wait, pausing = Leadership.wait, threading.Event()

    def long_pause(leadership: Leadership, timeout: float | None = None) -> bool:
        if not timeout:
            return wait(leadership, timeout)
        pausing.set()
        return wait(leadership, PATIENCE)

    monkeypatch.setattr(Leadership, "wait", long_pause)

    def work(leadership: Leadership) -> None:
        seen.add(leadership)
        raise ValueError("boom")

    elector.while_leader(work)
    leading(server, elector)
    assert pausing.wait(PATIENCE)
    assert elector.stop()
    assert [leadership.number for leadership in seen.entries] == [1]


def test_stop_waits_for_it_and_says_so_if_it_would_not_end(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    release = threading.Event()

    def work(leadership: Leadership) -> None:
        seen.add("in")
        release.wait(PATIENCE)

    elector.while_leader(work)
    leading(server, elector)
    seen.wait(1)
    assert not elector.stop(timeout=0.05)
    release.set()
    assert elector.stop(timeout=PATIENCE)


def test_removed_it_is_not_called_for_the_next_leadership(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    @elector.while_leader
    def work(leadership: Leadership) -> None:
        seen.add("work")
        leadership.wait()

    leading(server, elector)
    seen.wait(1)
    assert elector.remove(work)
    assert not elector.remove(work)
    server.elect("pod-b")
    until(lambda: elector.leader == "pod-b")
    elector.on_elected(lambda: seen.add("elected"))
    server.elect("pod-a")
    seen.wait(2)
    assert seen.entries == ["work", "elected"]


def test_removed_and_registered_again_it_does_not_run_twice_at_once(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    """And `stop` waits for the removed one as for any other."""
    elector = make_elector()
    release = threading.Event()
    running: list[int] = []

    def work(leadership: Leadership) -> None:
        running.append(1)
        seen.add(len(running))
        release.wait(PATIENCE)
        running.pop()

    elector.while_leader(work)
    leading(server, elector)
    seen.wait(1)
    elector.remove(work)
    elector.while_leader(work)
    elector.on_elected(lambda: seen.add("told"))  # later than the task, so that it had its turn
    seen.wait(2)
    assert not elector.stop(timeout=0.05)
    release.set()
    assert elector.stop(timeout=PATIENCE)
    assert [entry for entry in seen.entries if entry != "told"] == [1]


def test_it_may_call_anything_on_the_elector(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    def work(leadership: Leadership) -> None:
        seen.add((elector.stop(), leadership.ended, elector.is_leader))

    elector.while_leader(work)
    server.leader = "pod-a"
    elector.start()
    result: list[Any] = seen.wait(1)
    assert result == [(True, True, False)]

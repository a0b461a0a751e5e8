"""The clock, and how a pause of the whole process is told from a quiet stream."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from elector_thread import State, clock
from elector_thread._state.clock import Flag, Pulse, now

from .conftest import MakeElector
from .polling import until
from .scripted import PATIENCE, ScriptedServer, chunk, event


def test_the_clock_counts_suspended_time_where_the_system_can() -> None:
    name = "CLOCK_BOOTTIME" if hasattr(time, "CLOCK_BOOTTIME") else "CLOCK_MONOTONIC"
    before = time.clock_gettime(getattr(time, name))
    assert before <= now() <= now() <= time.clock_gettime(getattr(time, name))


def test_without_a_pulse_everything_is_new() -> None:
    assert Pulse().earliest_arrival(123.0) == 123.0


def test_within_the_promised_time_what_is_read_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = 100.0
    monkeypatch.setattr(clock, "now", lambda: instant)
    pulse = Pulse()
    pulse.beat(lasts=5.0)
    assert pulse.earliest_arrival(105.9) == 105.9


def test_after_a_pause_it_may_be_as_old_as_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = 100.0
    monkeypatch.setattr(clock, "now", lambda: instant)
    pulse = Pulse()
    pulse.beat(lasts=5.0)
    assert pulse.earliest_arrival(3700.0) == 100.0


def test_what_is_read_right_after_a_noticed_pause_may_be_as_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pulse = Pulse()
    for instant in (100.0, 3700.0):
        monkeypatch.setattr(clock, "now", lambda instant=instant: instant)
        pulse.beat(lasts=5)
    assert pulse.earliest_arrival(3700.1) == 100.0
    assert pulse.earliest_arrival(3702.0) == 3702.0


def stop_the_clock(monkeypatch: pytest.MonkeyPatch, instant: float) -> None:
    """It is ``instant`` from now on, for whoever looks at an elector or at its stream."""
    for module in ("stream", "elector", "poll", "dispatch"):
        monkeypatch.setattr(f"elector_thread.{module}.now", lambda: instant, raising=False)
    monkeypatch.setattr(clock.Clock, "now", lambda _: instant)


def test_news_that_lay_in_the_buffer_during_a_pause_is_still_newer_than_what_came_before(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour passes, shorter than the grace; what was read before it was ourselves."""
    server.leader = "pod-a"
    elector = make_elector(poll_interval=20, reconcile_interval=20, grace_period=3600)
    elector.start()
    server.wait_streams()
    until(lambda: elector.status().counts.events == 1 and elector.status().counts.answers == 1)
    server.push("pod-a")
    until(lambda: elector.status().counts.events == 2)
    server.on_get = lambda connection: connection.wait_gone()  # nobody else tells
    stop_the_clock(monkeypatch, now() + 1800)
    server.push("pod-b")
    until(lambda: elector.status().counts.events == 3)
    assert (elector.leader, elector.is_leader) == ("pod-b", False)


def test_news_that_lay_in_the_buffer_during_a_pause_makes_no_leader(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour passes between two beats; the event that is read then may be an hour old."""
    server.leader = "pod-b"
    elector = make_elector(poll_interval=20, reconcile_interval=20, grace_period=40)
    elector.start()
    server.wait_streams()
    until(lambda: elector.status().counts.events == 1 and elector.status().counts.answers == 1)
    began: list[object] = []
    elector.on_elected(began.append)
    stop_the_clock(monkeypatch, now() + 3600)
    server.send_to_streams(chunk(event("pod-a")))
    until(lambda: elector.status().counts.events == 2)
    assert elector.state is State.UNKNOWN
    assert began == []


def test_reads_and_events_at_the_same_time_never_disagree(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """Four threads read while leadership flips: a leader is always ourselves."""
    elector = make_elector().start()
    server.wait_streams()
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            status = elector.status()
            if status.is_leader is not (status.state is State.LEADER):
                wrong.append(status)
            if status.is_leader and status.leader != "pod-a":
                wrong.append(status)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(100):
        server.elect("pod-a")
        server.elect("pod-b")
    until(lambda: elector.status().counts.events == 201)  # the first one says {}
    done.set()
    for reader in readers:
        reader.join(PATIENCE)
    assert wrong == []
    assert elector.leader == "pod-b"
    assert elector.status().counts.elected == elector.status().counts.demoted == 100


# --- the flag ----------------------------------------------------------------------------


def test_a_flag_is_set_for_all_who_wait_and_for_those_who_come_later() -> None:
    flag, ended = Flag(), []
    waiting = [threading.Thread(target=lambda: ended.append(flag.wait())) for _ in range(5)]
    for thread in waiting:
        thread.start()
    assert not flag.wait(0)
    assert not flag.wait(-1)
    flag.set()
    flag.set()
    for thread in waiting:
        thread.join(PATIENCE)
    assert ended == [True] * 5
    assert flag.wait()
    assert flag.is_set()


def test_a_cleared_flag_can_be_waited_for_again() -> None:
    flag = Flag()
    for _ in range(3):
        flag.set()
        flag.clear()
        flag.clear()
        assert not flag.is_set()
        assert not flag.wait(0.001)
    flag.set()
    assert flag.wait(0)


def test_a_wait_longer_than_the_system_can_wait_is_just_long() -> None:
    flag = Flag()
    threading.Thread(target=flag.set).start()
    assert flag.wait(1e300)


def test_a_signal_handler_may_set_the_flag_that_it_interrupts_a_wait_for() -> None:
    """Again and again, since what matters is where in the wait it strikes."""
    flag = Flag()
    before = signal.signal(signal.SIGALRM, lambda *_: flag.set())
    try:
        for index in range(300):
            flag.clear()
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + index * 1e-6)
            give_up = now() + PATIENCE
            while not flag.wait(1e-4):
                assert now() < give_up, "the handler waits for whom it has interrupted"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_refresh_proves_that_the_process_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: 100.0)
    pulse = Pulse()
    pulse.beat(lasts=5.0)
    pulse.ran(103.0)
    pulse.ran(101.0)
    assert pulse.earliest_arrival(3700.0) == 103.0

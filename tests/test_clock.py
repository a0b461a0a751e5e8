"""The clock, the flag, and pauses of the whole process."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from elector_thread import Elector, State
from elector_thread._state.clock import Clock, Flag, now

from .conftest import MakeElector
from .polling import until
from .scripted import PATIENCE, Connection, ScriptedServer, answer, result


def test_the_clock_counts_suspended_time_where_the_system_can() -> None:
    name = "CLOCK_BOOTTIME" if hasattr(time, "CLOCK_BOOTTIME") else "CLOCK_MONOTONIC"
    before = time.clock_gettime(getattr(time, name))
    assert before <= now() <= now() <= time.clock_gettime(getattr(time, name))


def stop_the_clock(monkeypatch: pytest.MonkeyPatch, instant: float) -> None:
    """It is ``instant`` from now on, for readers of the state and for the stream."""
    for module in ("_sidecar.transport", "_sidecar.calls", "_runtime.stream", "_runtime.poll"):
        monkeypatch.setattr(f"elector_thread.{module}.now", lambda: instant)
    monkeypatch.setattr("elector_thread.elector.read_clock", lambda *_: instant)
    monkeypatch.setattr(Clock, "now", lambda _: instant)


def start_and_let_the_second_get_hang(server: ScriptedServer, elector: Elector) -> None:
    """Afterwards the poll thread waits for an answer, and the stream thread for an event."""

    def answer_once(connection: Connection) -> None:
        server.on_get = Connection.wait_gone
        connection.send(answer(result(server.leader)))

    server.on_get = answer_once
    elector.start()
    until(lambda: elector.status().counts.events == 1 and elector.status().counts.answers == 1)
    server.wait_for(lambda: len(server.heads) == 3)


def test_an_event_that_was_unread_during_a_pause_is_newer_than_what_came_before(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour passes, less than the grace period; until then we were the leader."""
    server.leader = "pod-a"
    elector = make_elector(
        poll_interval=20, reconcile_interval=20, request_timeout=15, grace_period=3600
    )
    start_and_let_the_second_get_hang(server, elector)
    stop_the_clock(monkeypatch, now() + 1800)
    server.push("pod-b")
    until(lambda: elector.status().counts.events == 2)
    assert (elector.leader, elector.is_leader) == ("pod-b", False)


def test_an_event_that_was_unread_during_a_pause_makes_no_leader(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour passes while the stream thread waits: the event that it reads may be as old."""
    server.leader = "pod-b"
    elector = make_elector(
        poll_interval=20, reconcile_interval=20, request_timeout=15, grace_period=40
    )
    elected: list[object] = []
    elector.on_elected(elected.append)
    start_and_let_the_second_get_hang(server, elector)
    stop_the_clock(monkeypatch, now() + 3600)
    server.push("pod-a")
    until(lambda: elector.status().counts.events == 2)
    assert elector.state is State.UNKNOWN
    assert elected == []


def test_reads_and_events_at_the_same_time_never_disagree(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """Four threads read while leadership flips: the leader is always this process."""
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
    for _ in range(10):
        server.elect("pod-a")
        until(lambda: elector.is_leader)
        server.elect("pod-b")
        until(lambda: elector.leader == "pod-b")
    done.set()
    for reader in readers:
        reader.join(PATIENCE)
    assert wrong == []
    counts = elector.status().counts
    assert counts.elected == counts.demoted == 10


# --- the flag ----------------------------------------------------------------------------


def test_a_flag_wakes_every_waiter_present_and_future() -> None:
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


def test_a_wait_may_be_longer_than_the_system_can_wait() -> None:
    flag = Flag()
    threading.Thread(target=flag.set).start()
    assert flag.wait(1e300)


def test_a_signal_handler_may_set_the_flag_that_it_interrupts_a_wait_for() -> None:
    """Many times, since what matters is where in the wait it strikes."""
    flag = Flag()
    before = signal.signal(signal.SIGALRM, lambda *_: flag.set())
    try:
        for index in range(300):
            flag.clear()
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + index * 1e-6)
            give_up = now() + PATIENCE
            while not flag.wait(1e-4):
                assert now() < give_up, "the handler waits for the thread that it has interrupted"
    finally:
        signal.signal(signal.SIGALRM, before)

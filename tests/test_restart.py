"""What a second start finds of the first run, and a stop while a leader task begins."""

from __future__ import annotations

import threading

import pytest

from elector_thread._runtime.poll import Poll
from elector_thread._state.clock import now

from .conftest import MakeElector
from .scripted import PATIENCE, ScriptedServer


def test_an_elector_is_alive_while_it_starts_again(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was stopped: the next GET of the first run is not late."""
    elector = make_elector().start()
    server.wait_gets(1)
    elector.stop()
    elector._runtime.health.poll_due = now() - 1000.0  # as after a long time
    run, go_on = Poll.run, threading.Event()

    def run_later(poll: Poll) -> None:
        go_on.wait(PATIENCE)
        run(poll)

    monkeypatch.setattr(Poll, "run", run_later)
    try:
        assert elector.start().status().alive
    finally:
        go_on.set()


def test_a_stop_while_the_thread_of_a_leader_task_starts(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.leader = "pod-a"
    start, starting, go_on = threading.Thread.start, threading.Event(), threading.Event()

    def start_slowly(thread: threading.Thread) -> None:
        if thread.name.startswith("elector-task"):
            starting.set()
            go_on.wait(PATIENCE)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    elector = make_elector()
    elector.while_leader(lambda leadership: leadership.wait())
    elector.start()
    assert starting.wait(PATIENCE)
    try:
        assert not elector.stop(timeout=0.05), "the dispatch thread has not ended"
    finally:
        go_on.set()

"""Observers of a real elector: what they see, and that they harm nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from elector_thread import Elector
from elector_thread._state.clock import is_held_here
from elector_thread.instrumentation import (
    Event,
    GetAnswered,
    LeadershipGained,
    LeadershipLost,
    StreamEnded,
    StreamOpened,
    add_observer,
    remove_observer,
)
from elector_thread.testing import FakeElector
from tests.conftest import MakeElector
from tests.forks.children import locks_of
from tests.lease_api import LeaseApi
from tests.polling import until
from tests.scripted import PATIENCE, ScriptedServer

SHORT_GRACE = {"reconcile_interval": 0.2, "grace_period": 1.5, "request_timeout": 0.5}


def replace(server: ScriptedServer, _: LeaseApi, __: Elector) -> None:
    server.elect("pod-b")


def fall_silent(server: ScriptedServer, _: LeaseApi, __: Elector) -> None:
    server.on_get = server.on_stream = lambda connection: connection.reset()


def remove_the_lease(_: ScriptedServer, api: LeaseApi, __: Elector) -> None:
    api.elect(None)


def stop(_: ScriptedServer, __: LeaseApi, elector: Elector) -> None:
    elector.stop()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (replace, "replaced"),
        (fall_silent, "expired"),
        (remove_the_lease, "unverified"),
        (stop, "stopped"),
    ],
)
def test_each_reason_of_an_end_is_seen_once(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    seen: list[Event],
    end: Callable[[ScriptedServer, LeaseApi, Elector], None],
    reason: str,
) -> None:
    api = LeaseApi(server)
    api.elect("pod-a")
    server.leader = "pod-a"
    settings = dict(SHORT_GRACE)
    if reason == "unverified":
        for name, value in api.environ.items():
            monkeypatch.setenv(name, value)
    elector = make_elector(**settings).start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_streams()
    end(server, api, elector)
    until(lambda: [event for event in seen if isinstance(event, LeadershipLost)])
    elector.stop()
    lost = [event for event in seen if isinstance(event, LeadershipLost)]
    assert [(event.number, event.reason) for event in lost] == [(1, reason)]
    assert [event.number for event in seen if isinstance(event, LeadershipGained)] == [1]


def test_one_that_raises_breaks_nothing_and_is_logged_once(
    server: ScriptedServer,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
    own_recorder: None,
) -> None:
    calls: list[Event] = []

    def fail(event: Event) -> None:
        calls.append(event)
        raise ValueError(type(event).__name__)

    later: list[Event] = []
    add_observer(fail)
    add_observer(later.append)
    elected, demoted = threading.Event(), threading.Event()
    server.leader = "pod-a"
    with caplog.at_level(logging.INFO, "elector_thread"):
        elector = make_elector()
        elector.on_elected(elected.set)
        elector.on_demoted(demoted.set)
        elector.start()
        assert elected.wait(PATIENCE)
        assert elector.only_on_leader(lambda: "done")() == "done"
        server.wait_gets(2)
        server.elect("pod-b")
        assert demoted.wait(PATIENCE)
        assert elector.stop()
    assert len(calls) > 5
    assert {id(event) for event in later} == {id(event) for event in calls}
    lines = [record for record in caplog.records if record.elector_event == "observer_failed"]
    assert [(line.levelname, line.elector_reason) for line in lines] == [("ERROR", "ValueError")]


def test_an_observer_that_cannot_be_shown_is_logged_by_its_class(
    caplog: pytest.LogCaptureFixture, own_recorder: None
) -> None:
    class Broken:
        def __call__(self, event: Event) -> None:
            raise ValueError(event)

        def __repr__(self) -> str:
            raise ValueError("no repr")

    add_observer(Broken())
    assert FakeElector(leading=True).only_on_leader(lambda: "done")() == "done"
    assert "Broken raised ValueError" in caplog.text


def test_they_run_outside_every_lock(
    server: ScriptedServer, make_elector: MakeElector, tmp_path: object, own_recorder: None
) -> None:
    """Another thread can take each lock of the library while an observer runs."""
    held: list[str] = []
    kinds: set[type[Event]] = set()
    elector = make_elector(scope="process", lock_path=f"{tmp_path}/lock")
    elector.while_leader(lambda leadership: leadership.wait())
    elector.on_elected(lambda: None)

    def take_all() -> None:
        for name, locks in locks_of(elector).items():
            for lock in locks:
                if lock.acquire(timeout=PATIENCE):
                    lock.release()
                else:
                    held.append(name)

    def observe(event: Event) -> None:
        kinds.add(type(event))
        other = threading.Thread(target=take_all)
        other.start()
        other.join()

    add_observer(observe)
    server.leader = "pod-a"
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    elector.only_on_leader(lambda: None)()
    server.elect("pod-b")
    until(lambda: LeadershipLost in kinds)
    assert elector.stop(None)
    assert not held
    assert {LeadershipGained, LeadershipLost, GetAnswered, StreamOpened} <= kinds


def test_one_that_was_removed_is_not_called(
    server: ScriptedServer, make_elector: MakeElector, own_recorder: None
) -> None:
    calls: list[Event] = []
    add_observer(calls.append)
    remove_observer(calls.append)
    remove_observer(calls.append)  # without effect
    server.leader = "pod-a"
    assert make_elector().start().wait_until_leader(PATIENCE)
    assert not calls


def test_the_end_of_a_stream_says_whether_it_was_open(
    server: ScriptedServer, make_elector: MakeElector, seen: list[Event]
) -> None:
    server.leader = "pod-a"
    make_elector().start()
    server.wait_streams()
    server.on_stream = lambda connection: connection.reset()
    server.drop_streams()

    def ends() -> list[bool]:
        return [event.opened for event in seen if isinstance(event, StreamEnded)]

    until(lambda: len(ends()) >= 2)
    assert ends()[:2] == [True, False]


def test_a_failed_start_is_reported_outside_the_lock(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    own_recorder: None,
) -> None:
    elector, known, locked = make_elector(), threading.Event(), []
    server.leader = "pod-a"
    start = threading.Thread.start

    def refuse_the_stream(thread: threading.Thread) -> None:
        if thread.name == "elector-stream":
            assert known.wait(PATIENCE)
            raise RuntimeError("can't start new thread")
        start(thread)

    def observe(event: Event) -> None:
        if isinstance(event, LeadershipGained):
            known.set()
        if isinstance(event, LeadershipLost):
            locked.append(is_held_here(elector._runtime._lock))

    add_observer(observe)
    monkeypatch.setattr(threading.Thread, "start", refuse_the_stream)
    with pytest.raises(RuntimeError, match="new thread"):
        elector.start()
    assert locked == [False]

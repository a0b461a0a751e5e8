"""`Status.alive`: what a liveness probe asks."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from elector_thread import Elector
from elector_thread._sidecar.calls import SidecarClient
from elector_thread._state.clock import now

from .conftest import MakeElector
from .polling import until
from .scripted import ScriptedServer

HASTY = {
    "get_url": "http://127.0.0.1:9/",  # nobody listens there
    "poll_interval": 0.05,
    "reconcile_interval": 0.05,
    "request_timeout": 0.05,
    "grace_period": 0.2,
}


def hasty_beside(server: ScriptedServer) -> dict[str, Any]:
    """Nearly as short, where somebody answers."""
    urls = {"get_url": server.get_url, "sse_url": server.sse_url}
    return {**HASTY, **urls, "request_timeout": 0.3, "grace_period": 0.6}


def wait_until_stuck(elector: Elector) -> None:
    until(lambda: not elector.status().alive, "it to count as stuck")


def test_an_elector_that_was_never_started_or_was_stopped_is_alive(
    make_elector: MakeElector,
) -> None:
    elector = make_elector(**HASTY)
    assert elector.status().alive
    elector.start()
    assert elector.stop()
    assert elector.status().alive


def test_an_elector_that_is_told_to_stop_is_alive_while_it_ends(
    make_elector: MakeElector, server: ScriptedServer
) -> None:
    unblock, entered = Event(), Event()
    server.leader = "pod-a"
    elector = make_elector(**hasty_beside(server))

    @elector.on_demoted
    def takes_its_time() -> None:
        entered.set()
        unblock.wait(30)

    announced = Event()
    elector.on_elected(announced.set)
    elector.start()
    assert announced.wait(10)
    assert not elector.stop(timeout=0)
    assert entered.wait(10)
    began = now()
    until(lambda: now() - began > 1.0, "more than the grace period to pass")
    assert elector.status().alive
    unblock.set()
    assert elector.stop()


def test_an_elector_that_nobody_answers_is_alive(make_elector: MakeElector) -> None:
    elector = make_elector(**{**HASTY, "grace_period": 1.0}).start()
    assert not elector.wait_until_known(timeout=1.5)  # well beyond the grace period
    status = elector.status()
    assert status.alive
    assert status.counts.failures > 0


def test_a_stuck_poll_thread_is_not_alive(
    make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    unblock = Event()
    monkeypatch.setattr(SidecarClient, "ask", lambda *_: unblock.wait(30))
    elector = make_elector(**HASTY).start()
    wait_until_stuck(elector)
    unblock.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_not_alive(
    make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: object) -> None:
        raise MemoryError("what no code foresees")

    monkeypatch.setattr("elector_thread._dispatch.dispatcher.Dispatcher.drain", die)
    elector = make_elector(**HASTY).start()
    wait_until_stuck(elector)


def test_a_callback_that_holds_up_the_end_of_a_leadership_is_not_alive(
    make_elector: MakeElector, server: ScriptedServer
) -> None:
    unblock, entered = Event(), Event()
    server.leader = "pod-a"
    elector = make_elector(**hasty_beside(server))

    @elector.on_elected
    def never_ends() -> None:
        entered.set()
        unblock.wait(30)

    elector.start()
    assert entered.wait(10)
    assert elector.status().alive, "a slow callback alone is no fault"
    server.elect("pod-b")
    wait_until_stuck(elector)
    unblock.set()

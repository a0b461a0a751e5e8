"""What is over is let go: earlier runs, removed callbacks, removed leader tasks."""

from __future__ import annotations

import gc
import threading

from elector_thread import Elector, LeaderChange
from elector_thread._dispatch.dispatcher import Dispatcher
from elector_thread._dispatch.registry import Registration
from elector_thread._dispatch.tasks import TaskRunner

from .scripted import PATIENCE


def count(kind: type) -> int:
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


def test_a_restart_lets_the_earlier_run_go() -> None:
    before = count(Dispatcher)
    elector = Elector(when_unconfigured="follow", identity="pod-a")
    for _ in range(20):
        elector.start()
        assert elector.stop()
    assert count(Dispatcher) <= before + 2


def test_a_removed_callback_is_let_go_though_nothing_changes() -> None:
    before = count(Registration)
    with Elector(when_unconfigured="lead", identity="pod-a") as elector:
        for _ in range(20):
            called = threading.Event()

            def callback(change: LeaderChange, called: threading.Event = called) -> None:
                called.set()

            elector.on_leader_change(callback)
            assert called.wait(PATIENCE)
            assert elector.remove(callback)
        assert count(Registration) <= before + 2


def test_a_removed_leader_task_is_let_go() -> None:
    before = count(TaskRunner)
    elector = Elector(when_unconfigured="follow", identity="pod-a")
    for _ in range(20):

        def work() -> None:
            """Never called."""

        elector.while_leader(work)
        assert elector.remove(work)
    assert count(TaskRunner) <= before + 2

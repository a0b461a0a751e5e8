"""What races with `start` and `stop`: guarded calls, waits, and a look at the status."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import elector_thread
from elector_thread import (
    SKIPPED,
    Elector,
    Leadership,
    State,
    configure,
    default,
    default_elector,
    only_on_leader,
)
from elector_thread._runtime.process import electors
from elector_thread._runtime.run import Run
from elector_thread._state.clock import Flag, now

from .conftest import MakeElector
from .polling import until
from .processes import run_python
from .scripted import PATIENCE, ScriptedServer

ROUNDS = 20
MOST_SECONDS = 20.0


def own_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("elector-")]


def guarded_call(elector: Elector) -> object:
    return elector.only_on_leader(lambda: "ran")() is SKIPPED


USES: dict[str, Callable[[Elector], object]] = {
    "a guarded call": guarded_call,
    "wait_until_leader": lambda elector: elector.wait_until_leader(PATIENCE),
    "wait_until_known": lambda elector: elector.wait_until_known(PATIENCE),
    "wait for good": lambda elector: elector.wait_until_leader(),
}


@contextmanager
def repeated(use: Callable[[], object], count: int) -> Iterator[list[threading.Thread]]:
    """Threads that do nothing else, until the end of the block."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            use()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stopping.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("name", USES)
def test_after_a_stop_nothing_starts_the_elector_again(
    server: ScriptedServer, make_elector: MakeElector, name: str
) -> None:
    server.leader = "pod-a"
    began = now()
    for _ in range(ROUNDS):
        if now() - began > MOST_SECONDS:
            break
        elector = make_elector(sse_url=None, get_url=server.get_url)
        elected: list[float] = []
        elector.on_elected(lambda elected=elected: elected.append(now()))
        with repeated(lambda elector=elector: USES[name](elector), 3):
            until(lambda elector=elector: elector.status().running, "it to be started")
            assert elector.stop()
            stopped = now()
            assert (elector.state, elector.status().running) == (State.UNKNOWN, False)
            until(lambda: own_threads() == [], "its threads to end")
        assert (elector.state, elector.status().running) == (State.UNKNOWN, False)
        assert own_threads() == []
        assert [at for at in elected if at > stopped] == []
    elector.start()
    assert elector.wait_until_leader(PATIENCE)


LIBRARY = str(Path(elector_thread.__file__).parent)


def wait_with_a_stop(
    elector: Elector, wait: Callable[[Elector], bool], lines: int
) -> tuple[list[bool], bool]:
    """What the wait returns if a stop strikes after so many lines of it, and whether it did."""
    left = lines
    stopper = threading.Thread(target=elector.stop)

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal left
        if kind == "line" and frame.f_code.co_filename.startswith(LIBRARY) and left > 0:
            left -= 1
            if left == 0:
                stopper.start()
                stopper.join(0.01)  # it cannot end while this line holds the lock that it needs
        return trace

    returned: list[bool] = []

    def run() -> None:
        sys.settrace(trace)
        returned.append(wait(elector))

    waiting = threading.Thread(target=run, daemon=True)
    waiting.start()
    until(lambda: left == 0 or not waiting.is_alive() or is_blocked(waiting), "a stop or a block")
    struck = left == 0
    if not struck:
        left = -1
        elector.stop()
    waiting.join(PATIENCE)
    return returned, struck


def is_blocked(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is Flag.wait.__code__


@pytest.mark.parametrize("wait", [Elector.wait_until_leader, Elector.wait_until_known])
def test_a_wait_that_has_just_started_does_not_miss_a_stop(
    make_elector: MakeElector, wait: Callable[[Elector], bool]
) -> None:
    lines, struck = 0, True
    while struck:
        lines += 1
        elector = make_elector(get_url="http://127.0.0.1:9/")
        returned, struck = wait_with_a_stop(elector, wait, lines)
        assert returned == [False], f"after line {lines}"
        assert elector.status().running is False
    assert lines > 20


def test_an_elector_is_alive_while_it_starts(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first start, and at a later one with the threads of the first among its memories."""
    start = threading.Thread.start
    seen: list[bool] = []
    elector = make_elector()

    def look_and_start(thread: threading.Thread) -> None:
        seen.append(elector.status().alive)
        start(thread)
        seen.append(elector.status().alive)

    monkeypatch.setattr(threading.Thread, "start", look_and_start)
    for _ in range(2):
        elector.start()
        assert elector.wait_until_known(0.2) in (True, False)
        assert elector.stop()
        elector._runtime.health.poll_due = -1e6  # it was stopped for long
    assert len(seen) >= 12
    assert all(seen)


def test_a_restarted_elector_is_alive_from_the_first_moment(
    make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads of its earlier run have ended, which is no fault of the new one."""
    start = Run.start
    seen: list[bool] = []
    elector = make_elector()

    def look_and_start(run: Run) -> None:
        seen.append(elector.status().alive)
        start(run)

    monkeypatch.setattr(Run, "start", look_and_start)
    for _ in range(2):
        elector.start()
        assert elector.stop()
    assert seen == [True, True]


def test_a_stop_while_a_leader_task_is_being_started_waits_for_no_thread_that_is_not_there(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    stopped: list[bool] = []
    elector = make_elector()
    elector.while_leader(Leadership.wait)

    def stop_and_start(thread: threading.Thread) -> None:
        if thread.name.startswith("elector-task-"):
            stopper = threading.Thread(target=lambda: stopped.append(elector.stop(0.2)))
            start(stopper)
            stopper.join(PATIENCE)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", stop_and_start)
    server.leader = "pod-a"
    elector.start()
    until(lambda: stopped, "it to be stopped")
    assert elector.stop()
    assert not elector.status().running


@pytest.mark.parametrize("timeout", [0.3, None])
def test_a_callback_and_a_leader_task_may_both_stop_the_elector(
    server: ScriptedServer, make_elector: MakeElector, timeout: float | None
) -> None:
    """Neither waits for the other, which waits for it."""
    elector = make_elector()
    stopped: list[str] = []
    both = threading.Barrier(2)

    @elector.while_leader
    def task(_: Leadership) -> None:
        both.wait(PATIENCE)
        elector.stop(timeout)
        stopped.append("task")

    @elector.on_elected
    def callback() -> None:
        both.wait(PATIENCE)
        elector.stop(timeout)
        stopped.append("callback")

    server.leader = "pod-a"
    elector.start()
    until(lambda: len(stopped) == 2, "both stops to return")
    assert elector.stop()


@pytest.fixture
def own_default(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Elector]]:
    """The process-wide elector, configured but not in use yet."""
    monkeypatch.setattr(default, "current", default.Default())
    server.leader = "pod-a"
    elector = configure(get_url=server.get_url, identity="pod-a")
    yield default_elector
    elector.stop()


def test_a_guarded_call_does_not_start_a_default_elector_that_was_stopped(
    own_default: Callable[[], Elector],
) -> None:
    elector = default.current.elector
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    elector.stop()
    assert only_on_leader(lambda: "ran")() is SKIPPED
    assert not elector.status().running
    assert own_default().start().wait_until_leader(PATIENCE)


def test_electors_may_be_made_while_all_of_them_step_down(make_elector: MakeElector) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with repeated(lambda: [Elector(get_url="http://127.0.0.1:9/") for _ in range(50)], 2):
            began = now()
            while now() - began < 1.0:
                electors()
    finally:
        sys.setswitchinterval(interval)
    elector = make_elector().start()
    assert elector in electors()


def test_an_elector_that_a_wait_has_started_is_kept(server: ScriptedServer) -> None:
    """Without another reference to it, the exit would not step it down."""
    server.leader = "pod-a"
    ended = run_python(KEPT, server.get_url)
    assert (ended.out, ended.err) == ("demoted\n", "")


KEPT = """
import gc, sys
from elector_thread import Elector
elector = Elector(get_url=sys.argv[1], identity="pod-a")
elector.on_demoted(lambda: print("demoted", flush=True))
announced = __import__("threading").Event()
elector.on_elected(announced.set)
assert elector.wait_until_leader(10)
del elector
gc.collect()
assert announced.wait(10)
"""

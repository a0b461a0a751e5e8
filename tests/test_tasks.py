"""``while_leader``: a thread of its own for each leadership, never two at once."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from elector_thread import Elector, Leadership, TaskStatus
from elector_thread._state import backoff
from elector_thread._state.health import observers
from elector_thread._state.occurrences import Event, TaskEnded, TaskFailed, TaskStarted
from elector_thread.aio import AsyncLeadership
from elector_thread.integrations import health

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


# --- async def, in an event loop of that thread ------------------------------------------


def test_an_async_function_runs_in_a_loop_of_that_thread_and_is_cancelled_at_the_end(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    @elector.while_leader
    async def work(leadership: AsyncLeadership) -> None:
        thread, task = threading.current_thread(), asyncio.current_task()
        assert task is not None
        seen.add((leadership.number, thread.name, task.get_name()))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # its clean-up is awaited
            seen.add(("cleaned up", leadership.ended, leadership.reason))

    leading(server, elector)
    seen.wait(1)
    server.elect("pod-b")
    seen.wait(2)
    server.elect("pod-a")
    seen.wait(3)
    assert elector.stop()
    name = "elector-task-" + work.__qualname__
    assert seen.entries == [
        (1, name, name),
        ("cleaned up", True, "replaced"),
        (2, name, name),
        ("cleaned up", True, "stopped"),
    ]


def test_an_async_function_without_a_parameter_may_return(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    @elector.while_leader
    async def work() -> None:
        seen.add("ran")

    leading(server, elector)
    seen.wait(1)
    until(lambda: elector.status().tasks[0].state == "ended")
    assert elector.stop()
    assert seen.entries == ["ran"]


def raise_error() -> None:
    raise ValueError("boom")


def leave() -> None:
    raise SystemExit("would end the loop")


def cancel_itself() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("fail", [raise_error, leave, cancel_itself])
def test_an_async_function_that_raises_is_called_again(
    server: ScriptedServer,
    make_elector: MakeElector,
    seen: Journal,
    no_pause: list[float],
    fail: Any,
) -> None:
    elector = make_elector()

    @elector.while_leader
    async def work(leadership: AsyncLeadership) -> None:
        seen.add(leadership.number)
        if len(seen.entries) < 4:
            fail()

    leading(server, elector)
    assert seen.wait(4) == [1] * 4
    assert elector.stop()
    assert len(no_pause) == 3
    assert elector.status().counts.callback_errors == 3


def test_the_awaited_wait_is_a_sleep_that_ends_with_the_leadership(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    @elector.while_leader
    async def work(leadership: AsyncLeadership) -> None:
        assert not await leadership.wait(timeout=0)
        assert not await leadership.wait(timeout=0.01)
        leadership.check()
        assert (leadership.ended, leadership.reason, leadership.fence) == (False, None, None)
        seen.add(leadership.since)
        try:
            await leadership.wait()
        except asyncio.CancelledError:
            seen.add("cancelled")
            assert await leadership.wait()
            raise

    leading(server, elector)
    seen.wait(1)
    server.elect("pod-b")
    assert seen.wait(2)[1:] == ["cancelled"]
    assert elector.stop()
    assert elector.status().counts.callback_errors == 0


def test_anything_that_returns_a_coroutine_is_an_async_function(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    class Work:
        async def __call__(self, leadership: AsyncLeadership) -> None:
            seen.add(("object", leadership.number))

        async def method(self) -> None:
            seen.add("method")

    async def work(text: str) -> None:
        seen.add(text)

    elector.while_leader(Work())
    elector.while_leader(Work().method)
    elector.while_leader(functools.partial(work, "partial"))
    leading(server, elector)
    assert set(seen.wait(3)) == {("object", 1), "method", "partial"}


@pytest.mark.parametrize("function", ["two parameters", "a generator"])
def test_what_cannot_be_an_async_task_is_refused(make_elector: MakeElector, function: str) -> None:
    async def two(one: object, another: object) -> None: ...

    async def generator() -> Any:
        yield

    with pytest.raises(TypeError, match="while_leader"):
        make_elector().while_leader(two if function == "two parameters" else generator)


# --- what a status says about them -------------------------------------------------------


def task_of(elector: Elector) -> TaskStatus:
    (task,) = elector.status().tasks
    return task


def ahead_of(before: float, task: TaskStatus) -> bool:
    return task.since is not None and before <= task.since <= time.time()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_the_status_of_a_task_that_runs_and_returns(
    server: ScriptedServer, make_elector: MakeElector, is_async: bool
) -> None:
    elector = make_elector()
    release, began = threading.Event(), time.time()

    def work() -> None:
        release.wait(PATIENCE)

    async def work_async() -> None:
        await asyncio.to_thread(work)

    function = elector.while_leader(work_async if is_async else work)
    assert task_of(elector) == TaskStatus(function.__qualname__)
    leading(server, elector)
    until(lambda: task_of(elector).state == "running")
    assert ahead_of(began, task_of(elector))
    release.set()
    until(lambda: task_of(elector).state == "ended")
    server.elect("pod-b")
    until(lambda: task_of(elector).state == "idle")
    assert task_of(elector)._replace(since=None) == TaskStatus(function.__qualname__)
    assert ahead_of(began, task_of(elector))
    assert elector.stop()


def test_the_status_of_a_task_that_raises_and_what_the_health_view_shows(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "wait_random_exponential", lambda **_: lambda _: PATIENCE)
    elector = make_elector()

    @elector.while_leader
    def work() -> None:
        raise ValueError("the password")

    leading(server, elector)
    until(lambda: task_of(elector).state == "waiting to restart")
    failing = TaskStatus(work.__qualname__, "waiting to restart", 1, None, "ValueError")
    assert task_of(elector)._replace(since=None) == failing
    code: list[str] = []
    (body,) = health.wsgi(elector)({"QUERY_STRING": ""}, lambda line, _: code.append(line))
    assert code == ["200 OK"]
    assert json.loads(body)["tasks"] == [task_of(elector)._asdict()]
    assert b"password" not in body
    assert elector.stop()
    until(lambda: task_of(elector).state == "idle")
    assert task_of(elector).failures == 1, "of the leadership before"


def test_a_removed_task_is_not_in_the_status(make_elector: MakeElector) -> None:
    elector = make_elector()
    work = elector.while_leader(lambda: None)
    assert elector.remove(work)
    assert elector.status().tasks == ()


@pytest.fixture
def events() -> Iterator[list[Event]]:
    found: list[Event] = []
    observers.append(found.append)
    yield found
    observers.remove(found.append)


def test_each_call_is_an_event_at_its_beginning_and_its_end(
    server: ScriptedServer,
    make_elector: MakeElector,
    no_pause: list[float],
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    elector = make_elector()
    error = ValueError("boom")
    calls = iter([error, None])

    @elector.while_leader
    def work() -> None:
        if failure := next(calls):
            raise failure

    leading(server, elector)
    until(lambda: task_of(elector).state == "ended")
    assert elector.stop()
    name = work.__qualname__
    found = [event for event in events if isinstance(event, TaskStarted | TaskFailed | TaskEnded)]
    assert [event[:1] for event in found] == [(name,)] * 5
    assert found[0] == found[3] == TaskStarted(name)
    assert found[1] == TaskFailed(name, error, 1)
    assert all(isinstance(found[index], TaskEnded) for index in (2, 4))
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.getMessage() == f"while_leader function {name} raised; continuing"
    assert line.exc_info
    assert elector.status().last_error == f"while_leader function {name} raised ValueError"

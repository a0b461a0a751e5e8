"""`AsyncElector`: its promises on a loop of the test's own."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from elector_thread import (
    SKIPPED,
    ConfigurationError,
    Elector,
    ElectorError,
    ElectorUnavailableError,
    LeaderChange,
    State,
    default,
    default_elector,
    only_on_leader,
)
from elector_thread._event_loop import LoopCall, SharedWait
from elector_thread._state.health import observers
from elector_thread._state.occurrences import TaskStarted
from elector_thread.aio import AsyncElector, AsyncLeadership
from elector_thread.testing import own_default_elector

from .conftest import MakeElector
from .polling import until
from .scripted import PATIENCE, ScriptedServer

SWITCH = 10.0
"""Seconds within which a loop must see a switch."""


@pytest.fixture
def elector(make_elector: MakeElector) -> Elector:
    return make_elector()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    asyncio.run(limited())


class Recorder:
    """What async callbacks did, in order, and whether two of them ran at the same time."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.threads: set[int] = set()
        self.busy = 0
        self.overlapped = False
        self.written = asyncio.Condition()

    def note(self, line: str) -> Callable[[AsyncLeadership], Awaitable[None]]:
        async def callback(leadership: AsyncLeadership) -> None:
            self.busy += 1
            self.overlapped |= self.busy > 1
            self.threads.add(threading.get_ident())
            await asyncio.sleep(0.02)  # long enough for another to come in between
            self.busy -= 1
            async with self.written:
                self.lines.append(f"{line} {leadership.number}")
                self.written.notify_all()

        return callback

    async def wait(self, count: int) -> None:
        async with self.written:
            await self.written.wait_for(lambda: len(self.lines) >= count)


def test_async_callbacks_keep_the_order_and_never_overlap(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        recorder = Recorder()
        asynchronous = AsyncElector(elector)
        asynchronous.on_elected(recorder.note("first elected"))
        asynchronous.on_elected(recorder.note("second elected"))
        asynchronous.on_demoted(recorder.note("demoted"))
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(2)
            server.elect("pod-b")
            await recorder.wait(3)
            server.elect("pod-a")
            await recorder.wait(5)
        # stop() let on_demoted end on this loop
        assert recorder.lines == [
            "first elected 1",
            "second elected 1",
            "demoted 1",
            "first elected 2",
            "second elected 2",
            "demoted 2",
        ]
        assert not recorder.overlapped
        assert recorder.threads == {threading.get_ident()}

    run(main)


def test_plain_and_async_callbacks_keep_one_order(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        called: list[str] = []
        asynchronous = AsyncElector(elector)

        @asynchronous.on_elected
        async def first() -> None:
            await asyncio.sleep(0.02)
            called.append("async")

        asynchronous.on_elected(lambda: called.append("plain"))
        server.leader = "pod-a"
        async with asynchronous:
            assert await asynchronous.wait_until_leader()
            assert asynchronous.is_leader
            assert asynchronous.state is State.LEADER
            while len(called) < 2:
                await asyncio.sleep(0.01)
        assert called == ["async", "plain"]

    run(main)


def test_callbacks_registered_at_import_run_on_the_loop_of_the_lifespan(
    elector: Elector, server: ScriptedServer
) -> None:
    asynchronous = AsyncElector(elector)
    loops: list[Any] = []

    @asynchronous.on_demoted
    async def demoted() -> None:
        loops.append(asyncio.get_running_loop())

    server.leader = "pod-a"

    async def main() -> None:
        async with asynchronous.lifespan() as state:
            assert state == {"elector": asynchronous}
            assert await asynchronous.wait_until_leader()
            # leadership may be announced after the wait: only an announced one is demoted
            announced = asyncio.Event()
            loop = asyncio.get_running_loop()
            asynchronous.on_elected(lambda: loop.call_soon_threadsafe(announced.set))
            await announced.wait()
        assert loops[-1] is asyncio.get_running_loop()

    run(main)
    run(main)  # restartable, on another loop
    assert len(loops) == 2


def test_an_exception_of_an_async_callback_is_suppressed(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        recorder = Recorder()
        asynchronous = AsyncElector(elector)

        @asynchronous.on_elected
        async def broken() -> None:
            raise SystemExit("would end the loop")

        asynchronous.on_elected(recorder.note("elected"))
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(1)
            assert asynchronous.status().counts.callback_errors == 1

    run(main)


def test_a_callback_that_cancels_itself_has_raised(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        recorder = Recorder()
        asynchronous = AsyncElector(elector)

        @asynchronous.on_elected
        async def cancelled() -> None:
            raise asyncio.CancelledError

        asynchronous.on_elected(recorder.note("elected"))
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(1)
            assert str(asynchronous.status().last_error).endswith("raised CancelledError")

    run(main)


def test_a_callback_whose_loop_is_closed_is_dropped(
    elector: Elector, server: ScriptedServer
) -> None:
    asynchronous = AsyncElector(elector)

    async def register() -> None:
        @asynchronous.on_elected
        async def elected() -> None: ...

    run(register)
    called = threading.Event()
    asynchronous.on_elected(called.set)
    server.leader = "pod-a"
    elector.start()
    assert called.wait(PATIENCE)
    assert elector.status().counts.callback_errors == 1
    assert "LoopClosedError" in str(elector.status().last_error)


def test_a_task_whose_loop_is_closed_has_finished_for_this_leadership(
    elector: Elector, server: ScriptedServer
) -> None:
    asynchronous = AsyncElector(elector)
    calls: list[str] = []

    def count(event: object) -> None:
        if isinstance(event, TaskStarted):
            calls.append(event.name)

    async def register() -> None:
        @asynchronous.while_leader
        async def work() -> None: ...

    run(register)
    server.leader = "pod-a"
    observers.append(count)
    try:
        elector.start()
        until(lambda: elector.status().tasks[0].state == "ended")
    finally:
        observers.remove(count)
    (task,) = elector.status().tasks
    assert (task.failures, task.last_error) == (1, "LoopClosedError")
    assert calls == [task.name]


def test_a_loop_that_is_closed_with_a_callback_on_it_delays_no_other_callback(
    elector: Elector, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoopCall, "CHECK", 0.02)
    asynchronous = AsyncElector(elector)
    loop = asyncio.new_event_loop()
    entered, called = threading.Event(), threading.Event()

    async def register() -> None:
        @asynchronous.on_elected
        async def endless() -> None:
            entered.set()
            await asyncio.Event().wait()

    loop.run_until_complete(register())
    asynchronous.on_elected(called.set)
    server.leader = "pod-a"
    elector.start()
    loop.run_until_complete(asyncio.to_thread(entered.wait, PATIENCE))
    loop.close()
    assert called.wait(PATIENCE)
    assert "LoopClosedError" in str(elector.status().last_error)


def test_a_callback_may_take_longer_than_the_checks_of_its_loop(
    elector: Elector, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoopCall, "CHECK", 0.001)

    async def main() -> None:
        recorder = Recorder()
        asynchronous = AsyncElector(elector)
        asynchronous.on_elected(recorder.note("first"))
        asynchronous.on_elected(recorder.note("second"))
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(2)
        assert recorder.lines == ["first 1", "second 1"]
        assert not recorder.overlapped

    run(main)


def test_a_callback_called_on_its_own_loop_is_an_error_not_a_deadlock(
    elector: Elector,
) -> None:
    registered: list[Callable[..., object]] = []

    async def main() -> None:
        asynchronous = AsyncElector(elector)
        elector.on_elected = registered.append  # type: ignore[method-assign]  # as a fake does

        @asynchronous.on_elected
        async def elected() -> None: ...

        with pytest.raises(ElectorError, match="on its own event loop's thread"):
            registered[0](None)

    run(main)


def test_a_removed_async_callback_is_not_called(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        recorder = Recorder()
        asynchronous = AsyncElector(elector)
        gone = recorder.note("gone")
        asynchronous.on_elected(gone)
        asynchronous.on_elected(recorder.note("kept"))
        assert asynchronous.remove(gone)
        assert not asynchronous.remove(gone)
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(1)
        assert recorder.lines == ["kept 1"]

    run(main)


def test_a_callback_that_does_not_end_is_cancelled_by_stop(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        entered, cancelled = asyncio.Event(), asyncio.Event()

        @asynchronous.on_elected
        async def endless() -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        server.leader = "pod-a"
        asynchronous.start()
        await entered.wait()
        assert not await asynchronous.stop(timeout=0.05)
        await cancelled.wait()

    run(main)


def test_stop_from_an_async_callback_does_not_wait_for_itself(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        stopped = asyncio.Event()

        @asynchronous.on_elected
        async def enough() -> None:
            await asynchronous.stop(timeout=None)
            stopped.set()

        server.leader = "pod-a"
        asynchronous.start()
        await stopped.wait()
        assert not asynchronous.is_leader

    run(main)


def test_one_async_elector_registers_and_another_one_starts_and_stops(
    elector: Elector, server: ScriptedServer
) -> None:
    stopped = asyncio.Event()

    async def enough() -> None:
        await AsyncElector(elector).stop(timeout=None)
        stopped.set()

    async def main() -> None:
        AsyncElector(elector).start()
        await stopped.wait()

    AsyncElector(elector).on_elected(enough)  # no loop is running yet
    server.leader = "pod-a"
    run(main)


def test_a_wait_inside_a_callback_does_not_block_the_callbacks(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        waited: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        @asynchronous.on_demoted
        async def until_back() -> None:
            server.elect("pod-a")
            waited.set_result(await asynchronous.wait_until_leader())

        announced = asyncio.Event()

        @asynchronous.on_elected
        async def elected() -> None:
            announced.set()

        server.leader = "pod-a"
        async with asynchronous:
            await announced.wait()
            server.elect("pod-b")
            assert await waited is True
            asynchronous.remove(until_back)

    run(main)


def waiting_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("elector-wait")


def test_a_thousand_waits_cost_one_thread_and_no_executor(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(1)
        loop.set_default_executor(executor)
        unblock = threading.Event()
        busy = loop.run_in_executor(None, unblock.wait)  # the default executor is full
        asynchronous = AsyncElector(elector)
        server.leader = "pod-b"
        try:
            async with asynchronous:
                assert await asynchronous.wait_until_known()
                until(lambda: waiting_threads() == 0, "the thread of that wait to end")
                waits = [asyncio.create_task(asynchronous.wait_until_leader()) for _ in range(1000)]
                await asyncio.sleep(0)
                assert waiting_threads() == 1
                began = time.monotonic()
                server.elect("pod-a")
                assert all(await asyncio.gather(*waits))
                assert time.monotonic() - began < SWITCH
        finally:
            unblock.set()
            await busy

    run(main)


def test_waits_end_with_their_timeout_with_a_stop_and_with_a_cancellation(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        server.leader = "pod-b"
        async with asynchronous:
            assert not await asynchronous.wait_until_leader(timeout=0.01)
            cancelled = asyncio.create_task(asynchronous.wait_until_leader())
            stopped = asyncio.create_task(asynchronous.wait_until_leader())
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        assert await stopped is False

    run(main)


def test_a_wait_that_is_cancelled_as_it_comes_true_disturbs_no_other(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        server.leader = "pod-b"
        async with asynchronous:
            cancelled = asyncio.create_task(asynchronous.wait_until_leader())
            other = asyncio.create_task(asynchronous.wait_until_leader())
            await asyncio.sleep(0)
            server.wait_streams()
            server.elect("pod-a")
            until(lambda: waiting_threads() == 0, "the result to reach the loop")
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert await other

    run(main)


def test_a_closed_loop_with_a_wait_on_it_is_released(
    elector: Elector, server: ScriptedServer
) -> None:
    server.leader = "pod-b"
    asynchronous = AsyncElector(elector)
    first, loop = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(asynchronous.wait_until_known())
    task = loop.create_task(asynchronous.wait_until_leader())
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    gone = weakref.ref(loop)
    del loop, task
    elector.stop()
    until(lambda: waiting_threads() == 0, "the thread of that wait to end")
    gc.collect()
    assert gone() is None
    first.close()


def test_the_thread_of_a_wait_ends_with_its_loop(
    elector: Elector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedWait, "CHECK", 0.05)
    asynchronous = AsyncElector(elector)
    assert not asyncio.run(asynchronous.wait_until_leader(timeout=0.01))
    until(lambda: waiting_threads() == 0, "the thread of that wait to end")


def test_a_wait_may_take_longer_than_the_checks_of_its_loop(
    elector: Elector, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedWait, "CHECK", 0.01)

    async def main() -> None:
        waiting = asyncio.create_task(AsyncElector(elector).wait_until_leader())
        await asyncio.sleep(0.1)
        server.leader = "pod-a"
        assert await waiting

    run(main)


def test_a_wait_raises_the_error_of_the_start(make_elector: MakeElector) -> None:
    async def main() -> None:
        elector = make_elector(scope="process", lock_path="/proc/no/such/folder/lock")
        with pytest.raises(ConfigurationError, match="lock_path"):
            await AsyncElector(elector).wait_until_leader()

    run(main)


def test_refresh_asks_without_blocking_the_loop(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        server.leader = "pod-b"
        status = await AsyncElector(elector).refresh()
        assert status.leader == "pod-b"
        assert server.stream_requests == 0

    run(main)


def test_refresh_without_an_answer_raises(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        server.close()
        with pytest.raises(ElectorUnavailableError, match="connection refused"):
            await AsyncElector(elector).refresh()

    run(main)


def test_a_refresh_that_is_cancelled_as_it_is_answered_is_cancelled(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        task = asyncio.create_task(AsyncElector(elector).refresh())
        await asyncio.sleep(0)
        names = lambda: [thread.name for thread in threading.enumerate()]  # noqa: E731
        until(lambda: "elector-async" not in names(), "the result to reach the loop")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_an_elector_or_settings_but_not_both(elector: Elector) -> None:
    with pytest.raises(TypeError, match="either an elector or settings"):
        AsyncElector(elector, grace_period=60)
    with pytest.raises(TypeError, match="on_elected"):

        @AsyncElector(elector).on_elected
        async def two(one: object, another: object) -> None: ...


def test_everything_that_is_read_is_the_same_and_an_async_callback_learns_of_other_leaders(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        told: asyncio.Future[LeaderChange] = asyncio.get_running_loop().create_future()

        @asynchronous.on_leader_change
        async def changed(change: LeaderChange) -> None:
            told.set_result(change)

        server.leader = "pod-b"
        async with asynchronous:
            assert await told == LeaderChange(None, "pod-b")
            assert (asynchronous.leader, asynchronous.identity) == ("pod-b", "pod-a")
            assert (asynchronous.is_leader, asynchronous.state) == (False, State.FOLLOWER)
            assert asynchronous.status().leader == "pod-b"
            assert asynchronous.only_on_leader(lambda: "ran")() is SKIPPED

    run(main)


# --- which elector ---------------------------------------------------------------------


def test_without_arguments_it_is_the_process_wide_one_and_needs_no_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="ELECTOR_GET_URL"):
            asynchronous.start()
        monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
        monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(1)
            assert only_on_leader(lambda: "ran")() == "ran"
        assert recorder.lines == ["registered 1"]

    with own_default_elector():
        asynchronous, recorder = AsyncElector(), Recorder()
        asynchronous.while_leader(recorder.note("registered"))
        assert asynchronous.elector is default_elector()
        assert not default.current.in_use
        run(main)


def test_with_settings_it_has_one_of_its_own() -> None:
    with own_default_elector():
        asynchronous = AsyncElector(when_unconfigured="lead")
        assert asynchronous.elector is not default_elector()
        with pytest.raises(ConfigurationError):
            AsyncElector(grace_period=-1)

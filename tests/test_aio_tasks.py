"""`AsyncElector`: tasks, tokens and changes; what a loop leaves behind that ends without a stop."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from elector_thread import (
    Elector,
    LeaderChange,
    Leadership,
    NotLeaderError,
)
from elector_thread._dispatch.coroutines import serve
from elector_thread._state import backoff
from elector_thread._state.clock import now
from elector_thread.aio import AsyncElector, AsyncLeadership

from .processes import run_python
from .scripted import PATIENCE, ScriptedServer
from .test_aio import Recorder, elector, run

__all__ = ["elector"]


# --- while_leader ----------------------------------------------------------------------


def test_an_async_task_runs_on_the_loop_and_is_cancelled_and_awaited_at_the_end(
    elector: Elector, server: ScriptedServer
) -> None:
    asynchronous = AsyncElector(elector)
    seen: list[object] = []
    began, cleaned_up = asyncio.Event(), asyncio.Event()

    @asynchronous.while_leader
    async def work(leadership: AsyncLeadership) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((leadership.number, task.get_name(), threading.get_ident()))
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            seen.append(f"over: {leadership.reason}")
            cleaned_up.set()

    async def main() -> None:
        server.leader = "pod-a"
        async with asynchronous:
            await began.wait()
            began.clear()
            server.elect("pod-b")
            await cleaned_up.wait()
            server.elect("pod-a")
            await began.wait()
            assert asynchronous.status().tasks[0].state == "running"
        assert asynchronous.status().tasks[0].state == "idle"

    run(main)
    name, here = f"elector-task-{work.__qualname__}", threading.get_ident()
    assert seen == [(1, name, here), "over: replaced", (2, name, here), "over: stopped"]


def test_an_async_task_that_raises_is_called_again_and_never_twice_at_once(
    elector: Elector, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "wait_random_exponential", lambda **_: lambda _: 0.0)

    async def main() -> None:
        asynchronous = AsyncElector(elector)
        calls, running, succeeded = 0, 0, asyncio.Event()

        @asynchronous.while_leader
        async def work() -> None:
            nonlocal calls, running
            calls, running = calls + 1, running + 1
            assert running == 1
            try:
                await asyncio.sleep(0)
                if calls < 3:
                    raise SystemExit("would end the loop")
                succeeded.set()
            finally:
                running -= 1

        server.leader = "pod-a"
        async with asynchronous:
            await succeeded.wait()
            while asynchronous.status().tasks[0].state != "ended":
                await asyncio.sleep(0.01)
            (task,) = asynchronous.status().tasks
            assert (task.failures, task.last_error) == (2, "SystemExit")
        assert calls == 3

    run(main)


def test_an_async_task_that_ignores_its_end_delays_the_next_and_a_stop(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        numbers: list[int] = []
        began, release = asyncio.Event(), asyncio.Event()

        @asynchronous.while_leader
        async def stubborn(leadership: AsyncLeadership) -> None:
            numbers.append(leadership.number)
            began.set()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        server.leader = "pod-a"
        asynchronous.start()
        await began.wait()
        for name in ("pod-b", "pod-a"):
            server.elect(name)
            while asynchronous.leader != name:
                await asyncio.sleep(0.01)
        assert not await asynchronous.stop(timeout=0.05)
        assert numbers == [1]
        release.set()
        assert await asynchronous.stop()
        assert numbers == [1]

    run(main)


def test_a_plain_task_runs_in_its_own_thread_with_the_token_that_blocks(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        seen: list[object] = []
        began = threading.Event()

        @asynchronous.while_leader
        def work(leadership: Leadership) -> None:
            seen.append(threading.current_thread().name)
            began.set()
            seen.append(leadership.wait(PATIENCE))

        server.leader = "pod-a"
        async with asynchronous:
            while not began.is_set():
                await asyncio.sleep(0.01)
        assert seen == [f"elector-task-{work.__qualname__}", True]

    run(main)


def test_a_removed_task_is_not_run(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        recorder = Recorder()
        gone = recorder.note("gone")
        asynchronous.while_leader(gone)
        asynchronous.while_leader(recorder.note("kept"))
        assert asynchronous.remove(gone)
        assert not asynchronous.remove(gone)
        server.leader = "pod-a"
        async with asynchronous:
            await recorder.wait(1)
        assert recorder.lines == ["kept 1"]

    run(main)


def test_a_task_that_stops_the_elector_is_cancelled(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        cancelled = asyncio.Event()

        @asynchronous.while_leader
        async def enough() -> None:
            try:
                await asynchronous.stop(timeout=None)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        server.leader = "pod-a"
        asynchronous.start()
        await cancelled.wait()
        assert await asynchronous.stop()

    run(main)


# --- the token -------------------------------------------------------------------------


def test_every_async_callback_gets_the_token_that_is_awaited(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        tokens: list[object] = []
        told, over = asyncio.Event(), asyncio.Event()

        @asynchronous.on_elected
        async def elected(leadership: AsyncLeadership) -> None:
            assert not await leadership.wait(timeout=0.01)
            tokens.append(repr(leadership))
            told.set()

        @asynchronous.on_demoted
        async def demoted(leadership: AsyncLeadership) -> None:
            assert await leadership.wait()
            with pytest.raises(NotLeaderError):
                leadership.check()
            tokens.append(repr(leadership))
            over.set()

        server.leader = "pod-a"
        async with asynchronous:
            await told.wait()
            server.elect("pod-b")
            await over.wait()
        assert tokens == ["<AsyncLeadership 1>", "<AsyncLeadership 1 ended>"]

    run(main)


def test_the_wait_wakes_at_the_expiry_without_any_thread() -> None:
    async def main() -> None:
        expiry = now() + 0.05
        token = AsyncLeadership(Leadership(1, now(), lambda _: expiry))
        assert not await token.wait(timeout=0)
        assert await token.wait()
        assert now() >= expiry

    run(main)


def test_the_wait_wakes_at_the_end_from_any_thread() -> None:
    async def main() -> None:
        until_when = [float("inf")]
        leadership = Leadership(1, now(), lambda _: until_when[0])
        token = AsyncLeadership(leadership)
        waits = [asyncio.create_task(token.wait()) for _ in range(3)]
        await asyncio.sleep(0)

        def end() -> None:
            until_when[0] = -float("inf")
            leadership._end("replaced")

        await asyncio.to_thread(end)
        assert await asyncio.gather(*waits) == [True] * 3
        assert token.reason == "replaced"

    run(main)


def test_a_task_is_cancelled_at_the_expiry_without_any_thread() -> None:
    async def main() -> None:
        expiry = now() + 0.05
        token = Leadership(1, now(), lambda _: expiry)
        cancelled: list[float] = []

        async def work(_: object) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(now())
                raise

        assert await serve(work, token, "work") is None
        assert cancelled[0] >= expiry

    run(main)


def test_a_task_is_cancelled_once_and_its_clean_up_is_left_alone() -> None:
    async def main() -> None:
        expiry = now() + 0.05
        token = Leadership(1, now(), lambda _: expiry)
        cleaned_up: list[bool] = []

        async def work(_: object) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                token._end("expired")  # as the library does when it notices
                await asyncio.sleep(0.02)
                cleaned_up.append(True)

        assert await serve(work, token, "work") is None
        assert cleaned_up == [True]

    run(main)


def test_a_wait_on_a_loop_that_was_closed_does_not_disturb_the_end() -> None:
    until_when = [float("inf")]
    leadership = Leadership(1, now(), lambda _: until_when[0])
    loop = asyncio.new_event_loop()
    task = loop.create_task(AsyncLeadership(leadership).wait())
    loop.run_until_complete(asyncio.sleep(0))
    waker = next(iter(leadership._wakers))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    waker.set()


# --- changes ---------------------------------------------------------------------------


async def take(changes: AsyncIterator[LeaderChange], count: int) -> list[LeaderChange]:
    return [await anext(changes) for _ in range(count)]


def registered(elector: Elector) -> int:
    """How many callbacks for leader changes there are."""
    return len(elector._runtime.registry.of("on_leader_change"))


def test_changes_wait_for_the_start_and_end_with_the_stop(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        for leader in ("pod-a", "pod-c"):  # the second time after a stop
            found: list[LeaderChange] = []
            known, changed = asyncio.Event(), asyncio.Event()

            async def read(found: Any = found, known: Any = known, changed: Any = changed) -> None:
                async for change in asynchronous.changes():
                    found.append(change)
                    (changed if known.is_set() else known).set()

            reader = asyncio.create_task(read())
            await asyncio.sleep(0)
            assert not asynchronous.status().running
            server.leader = leader
            async with asynchronous:
                await known.wait()
                server.wait_streams()
                server.elect("pod-b")
                await changed.wait()
            await reader
            assert found == [LeaderChange(None, leader), LeaderChange(leader, "pod-b")]

    run(main)
    assert registered(elector) == 0


def test_changes_begin_with_the_present_leader(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        server.leader = "pod-b"
        async with asynchronous:
            assert await asynchronous.wait_until_known()
            assert await take(asynchronous.changes(), 1) == [LeaderChange(None, "pod-b")]

    run(main)


def test_closed_changes_have_ended(elector: Elector) -> None:
    async def main() -> None:
        async with aclosing(AsyncElector(elector).changes()) as changes:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01)
        assert [change async for change in changes] == []

    run(main)


def test_a_slow_reader_finds_changes_without_gaps(elector: Elector, server: ScriptedServer) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        server.leader = "pod-0"
        async with asynchronous:
            changes = asynchronous.changes()
            found = await take(changes, 1)
            server.wait_streams()
            told = threading.Event()
            elector.on_leader_change(lambda change: change.current == "pod-99" and told.set())
            server.push(*(f"pod-{number}" for number in range(1, 100)))
            assert await asyncio.to_thread(told.wait, PATIENCE)
            while found[-1].current != "pod-99":
                found += await take(changes, 1)
        assert len(found) <= 18
        for before, after in pairwise(found):
            assert after.previous == before.current

    run(main)


def test_leaving_the_loop_or_a_cancellation_unregisters(
    elector: Elector, server: ScriptedServer
) -> None:
    async def main() -> None:
        asynchronous = AsyncElector(elector)
        server.leader = "pod-b"
        async with asynchronous:
            async for _ in asynchronous.changes():
                assert registered(elector) == 1
                break
            assert registered(elector) == 0
            known = asyncio.Event()

            async def read() -> None:
                async for _ in asynchronous.changes():
                    known.set()

            reader = asyncio.create_task(read())
            await known.wait()
            assert registered(elector) == 1
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert registered(elector) == 0

    run(main)


# --- a loop that ends without a stop ---------------------------------------------------

UNSTOPPED = """
import asyncio, logging, threading
from elector_thread.aio import AsyncElector

logging.basicConfig(format="%(message)s")
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine is slow
elector = AsyncElector(when_unconfigured="lead", identity="pod-a")

@elector.on_demoted
async def demoted():
    print("on a closed loop")

@elector.while_leader
async def work(leadership):
    running.set()
    try:
        await leadership.wait()
    finally:
        print("cleaned up")

@elector.while_leader
async def other():
    await asyncio.Event().wait()

async def main():
    global running
    running = asyncio.Event()
    elector.start()
    await running.wait()
    async for change in elector.changes():
        break

END
for thread in threading.enumerate():
    if thread.name.startswith("elector-task"):
        thread.join(10)
        print("hangs" if thread.is_alive() else "ended")
"""

BY_RUN = "asyncio.run(main())"
BY_CLOSE = """
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
"""


@pytest.mark.parametrize("end", [BY_RUN, BY_CLOSE], ids=["asyncio.run", "close"])
def test_a_loop_that_ends_without_a_stop_costs_one_log_line(end: str) -> None:
    ended = run_python(UNSTOPPED.replace("END", end), options=("-X", "dev"))
    assert ended.exit_code == 0
    assert set(ended.out.split("\n")) <= {"cleaned up", "ended", ""}
    assert re.fullmatch(r"the event loop of .* is closed; its async functions .*\n", ended.err)


def test_many_loops_that_end_at_any_moment_leave_nothing_behind() -> None:
    ended = run_python(MOMENTS, options=("-X", "dev"))
    assert (ended.exit_code, ended.err) == (0, "")


MOMENTS = """
import asyncio, gc, logging, threading
from elector_thread import Elector
from elector_thread.aio import AsyncElector
from elector_thread.testing import FakeElector

logging.getLogger("elector_thread").disabled = True
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine is slow

def one(turns):
    fake = FakeElector()
    elector = AsyncElector(fake)

    @elector.on_elected
    async def elected():
        await asyncio.Event().wait()

    @elector.while_leader
    async def work(leadership):
        await asyncio.Event().wait()

    def elect():
        fake.elect()
        fake.run_leader_task(work)

    async def main():
        elector.start()
        if turns % 2:
            fake.remove(elected)
        threading.Thread(target=elect).start()
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(main())

threading.excepthook = lambda raised: None  # of the last line of `elect`
for number in range(300):
    one(number % 30)
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
gc.collect()
"""

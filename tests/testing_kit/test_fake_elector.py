"""`FakeElector`: the real rules and the real order, without threads, network or time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from elector_thread import (
    SKIPPED,
    ConfigurationError,
    Elector,
    ElectorError,
    ElectorUnavailableError,
    LeaderChange,
    Leadership,
    NotLeaderError,
    State,
)
from elector_thread.aio import AsyncElector, AsyncLeadership
from elector_thread.testing import ANOTHER_POD, FakeElector

from ..scripted import PATIENCE


@pytest.fixture
def fake() -> FakeElector:
    return FakeElector()


@pytest.fixture
def calls(fake: FakeElector) -> list[Any]:
    """What callbacks of all three kinds were called with, in order."""
    made: list[Any] = []
    fake.on_elected(lambda leadership: made.append(("elected", leadership.number)))
    fake.on_demoted(lambda leadership: made.append(("demoted", leadership.number)))
    fake.on_leader_change(lambda change: made.append((change.previous, change.current)))
    return made


def test_it_is_an_elector_that_knows_nothing_yet(fake: FakeElector) -> None:
    assert isinstance(fake, Elector)
    assert (fake.state, fake.is_leader, fake.leader) == (State.UNKNOWN, False, None)
    assert fake.status().as_dict()["state"] == "unknown"
    assert fake.identity == "fake-pod"


@pytest.mark.parametrize("leading", [True, False])
def test_it_may_begin_as_leader_or_follower(leading: bool) -> None:
    fake = FakeElector(leading=leading, identity="pod-x")
    assert fake.is_leader is leading
    assert fake.state is (State.LEADER if leading else State.FOLLOWER)
    assert fake.leader == ("pod-x" if leading else ANOTHER_POD)


def test_it_makes_no_thread_and_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_POLL_INTERVAL", "nonsense")
    monkeypatch.setenv("ELECTOR_THREAD_SCOPE", "nonsense")
    before = threading.enumerate()
    with FakeElector() as fake:
        fake.elect()
        fake.while_leader(lambda: None)
        assert fake.only_on_leader(lambda: 1)() == 1
        fake.refresh()
        assert threading.enumerate() == before


def test_callbacks_have_run_when_elect_and_demote_return(
    fake: FakeElector, calls: list[Any]
) -> None:
    fake.elect()
    assert calls == [("elected", 1), (None, "fake-pod")]
    fake.demote()
    assert calls[2:] == [("demoted", 1), ("fake-pod", ANOTHER_POD)]
    fake.elect("pod-c")
    assert calls[4:] == [(ANOTHER_POD, "pod-c")]
    fake.elect("pod-c")
    fake.elect()
    assert calls[5:] == [("elected", 2), ("pod-c", "fake-pod")]


def test_callbacks_run_in_the_caller_s_thread_after_the_state_has_flipped(
    fake: FakeElector,
) -> None:
    seen: list[Any] = []
    fake.on_elected(lambda: seen.append((fake.is_leader, threading.current_thread())))
    fake.on_demoted(lambda token: seen.append((fake.is_leader, token.ended)))
    fake.elect()
    fake.demote()
    assert seen == [(True, threading.main_thread()), (False, True)]


def test_a_callback_registered_late_is_called_at_once(fake: FakeElector) -> None:
    fake.elect()
    elected: list[Leadership] = []
    changes: list[LeaderChange] = []
    assert fake.on_elected(elected.append) == elected.append
    fake.on_leader_change(changes.append)
    assert [token.number for token in elected] == [1]
    assert changes == [LeaderChange(None, "fake-pod")]
    assert fake.remove(elected.append)
    fake.demote()
    fake.elect()
    assert len(elected) == 1


def test_callbacks_never_overlap_when_one_causes_the_next(
    fake: FakeElector, calls: list[Any]
) -> None:
    depth = 0

    def demote_again() -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        fake.demote()
        assert ("demoted", 1) not in calls
        depth -= 1

    fake.on_elected(demote_again)
    fake.elect()
    assert calls[:2] == [("elected", 1), ("demoted", 1)]
    assert not fake.is_leader


def test_an_exception_of_a_callback_is_suppressed_and_counted(
    fake: FakeElector, calls: list[Any]
) -> None:
    fake.on_elected(lambda: 1 / 0)
    fake.elect()
    status = fake.status()
    assert status.counts.callback_errors == 1
    assert "ZeroDivisionError" in str(status.last_error)
    assert calls == [("elected", 1), (None, "fake-pod")]


def test_what_cannot_be_a_callback_is_refused(fake: FakeElector) -> None:
    async def later() -> None: ...

    for register in (fake.on_elected, fake.on_demoted, fake.on_leader_change):
        with pytest.raises(TypeError):
            register(later)


# --- time and contact ------------------------------------------------------------------------


def test_lost_contact_is_lost_leadership_only_after_the_grace_period(
    fake: FakeElector, calls: list[Any]
) -> None:
    fake.elect()
    fake.lose_contact(44)
    assert fake.is_leader
    assert fake.status().expires_in == 1
    fake.advance(1)
    assert fake.state is State.UNKNOWN
    assert calls[2:] == [("demoted", 1)]
    fake.elect()
    assert calls[3:] == [("elected", 2)]


def test_by_default_contact_is_lost_until_nothing_is_known() -> None:
    fake = FakeElector(leading=True, grace_period=10)
    fake.lose_contact()
    assert (fake.state, fake.leader) == (State.UNKNOWN, None)
    assert fake.status().stream == "waiting"
    with pytest.raises(ElectorUnavailableError, match="lose_contact"):
        fake.refresh()


def test_with_contact_leadership_outlives_any_time(fake: FakeElector, calls: list[Any]) -> None:
    fake.elect()
    fake.advance(3600)
    assert fake.is_leader
    assert fake.refresh().age == 0
    assert calls == [("elected", 1), (None, "fake-pod")]


def test_before_the_first_election_refresh_knows_no_leader() -> None:
    fake = FakeElector()
    assert (fake.refresh().state, fake.leader) == (State.UNKNOWN, None)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_passes_neither_backwards_nor_forever(fake: FakeElector, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        fake.advance(seconds)


def test_demoting_to_oneself_is_a_mistake(fake: FakeElector) -> None:
    with pytest.raises(ValueError, match="own identity"):
        fake.demote(to=fake.identity)


def test_a_bad_grace_period_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError):
        FakeElector(grace_period=-1)


def test_waits_return_at_once(fake: FakeElector) -> None:
    assert not fake.wait_until_known()
    fake.demote()
    assert (fake.wait_until_known(), fake.wait_until_leader()) == (True, False)
    fake.elect()
    assert fake.wait_until_leader(timeout=1)


# --- leader tasks that are async -----------------------------------------------------------


def test_an_async_task_waits_in_fake_time_and_is_cancelled_when_another_pod_is_elected() -> None:
    fake = FakeElector(leading=True)
    done: list[str] = []

    @fake.while_leader
    async def work(leadership: AsyncLeadership) -> None:
        try:
            while not await leadership.wait(timeout=20):
                done.append("round")
        except asyncio.CancelledError:
            done.append(f"cancelled, {leadership.reason}")
            raise

    assert fake.status().tasks[0].state == "idle"
    assert fake.run_leader_task(work, seconds=60)
    assert done == ["round", "round", "cancelled, replaced"]
    assert not fake.is_leader
    fake.elect()
    fake.run_leader_task(work, seconds=10)
    assert done[3:] == ["cancelled, replaced"]


def test_what_an_async_task_raises_and_returns() -> None:
    fake = FakeElector(leading=True)

    @fake.while_leader
    async def broken() -> None:
        raise ValueError("boom")

    @fake.while_leader
    async def quick() -> None: ...

    with pytest.raises(ValueError, match="boom"):
        fake.run_leader_task(broken)
    assert fake.run_leader_task(quick)
    assert not fake.run_leader_task(quick)
    assert [task.state for task in fake.status().tasks] == ["ended", "ended"]


def test_an_async_task_on_a_running_loop_needs_a_thread() -> None:
    fake = FakeElector(leading=True)

    @fake.while_leader
    async def work() -> None: ...

    async def main() -> None:
        with pytest.raises(ElectorError, match=r"asyncio\.to_thread"):
            fake.run_leader_task(work)

    asyncio.run(main())


def test_an_async_elector_around_a_fake() -> None:
    """Its functions run on the test's loop, and changes and waits follow the fake."""

    async def main() -> None:
        fake = FakeElector()
        elector = AsyncElector(fake)
        done: list[object] = []

        @elector.while_leader
        async def work(leadership: AsyncLeadership) -> None:
            while not await leadership.wait(timeout=20):
                done.append(asyncio.get_running_loop())

        async with asyncio.timeout(PATIENCE), elector:
            changes = elector.changes()
            first = asyncio.create_task(anext(changes))
            await asyncio.sleep(0)
            await asyncio.to_thread(fake.elect)
            assert await first == LeaderChange(None, fake.identity)
            assert await elector.wait_until_leader()
            assert await asyncio.to_thread(fake.run_leader_task, work, seconds=30)
            assert done == [asyncio.get_running_loop()]
            assert await anext(changes) == LeaderChange(fake.identity, ANOTHER_POD)
        assert [change async for change in changes] == []

    asyncio.run(main())


# --- stop and start ---------------------------------------------------------------------------


def test_stop_demotes_and_start_begins_anew(fake: FakeElector, calls: list[Any]) -> None:
    fake.elect()
    assert fake.stop()
    assert calls[2:] == [("demoted", 1)]
    assert (fake.state, fake.status().running) == (State.UNKNOWN, False)
    fake.elect()
    assert calls[3:] == []
    assert fake.start() is fake
    assert calls[3:] == [("elected", 2), (None, "fake-pod")]
    assert fake.start().status().running
    assert calls[5:] == []


def test_a_callback_may_stop_it(fake: FakeElector, calls: list[Any]) -> None:
    fake.on_elected(lambda: fake.stop())
    fake.elect()
    assert calls == [("elected", 1), ("demoted", 1)]


def test_a_callback_may_restart_it(fake: FakeElector, calls: list[Any]) -> None:
    fake.on_demoted(lambda: fake.start())
    fake.elect()
    fake.stop()
    assert calls[2:] == [("demoted", 1), ("elected", 2), (None, "fake-pod")]
    assert fake.is_leader


# --- guarded calls and leader tasks ------------------------------------------------------------


def test_the_guard_follows_it(fake: FakeElector) -> None:
    @fake.only_on_leader
    def work() -> str:
        return "done"

    @fake.only_on_leader
    async def later() -> str:
        return "done"

    assert (work(), asyncio.run(later())) == (SKIPPED, SKIPPED)
    fake.elect()
    assert (work(), asyncio.run(later())) == ("done", "done")


def test_a_leader_task_has_its_fake_minute(fake: FakeElector) -> None:
    rounds: list[float | None] = []

    @fake.while_leader
    def poll(leadership: Leadership) -> None:
        while not leadership.wait(timeout=10):
            rounds.append(fake.status().leadership)

    fake.elect()
    assert rounds == []
    assert fake.run_leader_task(poll, seconds=60)
    assert rounds == [1] * 5
    assert not fake.is_leader
    assert fake.leader == ANOTHER_POD


def test_a_leader_task_runs_once_in_a_leadership(fake: FakeElector) -> None:
    runs: list[int] = []
    work = fake.while_leader(lambda: runs.append(1))
    fake.elect()
    assert fake.run_leader_task(work)
    assert not fake.run_leader_task(work)
    assert fake.is_leader
    fake.advance(100)
    assert fake.is_leader
    fake.demote()
    fake.elect()
    assert fake.run_leader_task(work)
    assert runs == [1, 1]


def test_a_leader_task_may_be_ended_from_within(fake: FakeElector) -> None:
    @fake.while_leader
    def work(leadership: Leadership) -> None:
        fake.lose_contact()
        assert leadership.wait()

    fake.elect()
    assert fake.run_leader_task(work)
    assert fake.state is State.UNKNOWN


def test_what_a_leader_task_raises_reaches_the_test(fake: FakeElector) -> None:
    work = fake.while_leader(lambda: 1 / 0)
    fake.elect()
    with pytest.raises(ZeroDivisionError):
        fake.run_leader_task(work)


def test_a_leader_task_needs_a_leadership_and_a_registration(fake: FakeElector) -> None:
    work = fake.while_leader(lambda: None)
    with pytest.raises(NotLeaderError, match="elect"):
        fake.run_leader_task(work)
    fake.elect()
    assert fake.remove(work)
    assert not fake.remove(work)
    with pytest.raises(ValueError, match="while_leader"):
        fake.run_leader_task(work)


def test_a_wait_that_nothing_would_end_is_an_error(fake: FakeElector) -> None:
    problems: list[str] = []

    def wait(leadership: Leadership) -> None:
        try:
            leadership.wait()
        except RuntimeError as error:
            problems.append(str(error))

    fake.on_elected(wait)
    fake.elect()
    assert len(problems) == 1
    assert "this test never ends" in problems[0]


def test_a_verified_one_has_a_fence_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeElector(verified=True)
    fences: list[int | None] = []
    fake.on_elected(lambda leadership: fences.append(leadership.fence))
    fake.elect()
    fake.advance(1000)
    fake.demote()
    fake.elect()
    assert fences == [1, 3]
    assert fake.status().verification is not None
    fake.lose_contact()
    assert not fake.is_leader


def test_the_environment_does_not_make_it_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", "lease")
    fake = FakeElector(leading=True)
    seen: list[Leadership] = []
    fake.on_elected(seen.append)
    assert fake.is_leader
    assert seen[0].fence is None

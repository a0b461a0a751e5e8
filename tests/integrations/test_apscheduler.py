"""The APScheduler adapter: the example in a real process, and the races beside it."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import STATE_PAUSED, STATE_RUNNING

from elector_thread import SKIPPED, Elector, Leadership
from elector_thread.aio import AsyncElector
from elector_thread.integrations.apscheduler import Binding, bind
from elector_thread.local import LocalElector

from ..conftest import MakeElector
from ..polling import until
from ..scripted import ScriptedServer
from .replica import PATIENCE, SWITCH, Replica, environment, wait_streams


def test_the_example_runs_jobs_on_the_leader_alone(local: LocalElector) -> None:
    local.elect("pod-b")
    with Replica("apscheduler_app.py", env=environment(local.environ)) as replica:
        wait_streams(local, 1)
        local.elect("pod-a")
        replica.wait_line("short job", count=2, within=SWITCH)
        replica.wait_line("long job begins in leadership 1")
        local.elect("pod-b")
        replica.wait_line("long job ends early", within=SWITCH)
        ran = replica.printed("short job")
        local.elect("pod-a")
        replica.wait_line("long job begins in leadership 2", within=SWITCH)
        replica.wait_line("short job", count=ran + 2)


# APScheduler's thread may be about to remove a job that is done while shutdown() empties the
# store; it then ends with JobLookupError, which says nothing about the adapter
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def scheduler() -> Iterator[BackgroundScheduler]:
    made = BackgroundScheduler()
    yield made
    if made.running:
        made.shutdown()


@pytest.fixture
def elector(make_elector: MakeElector) -> Elector:
    return make_elector()


def lead(elector: Elector, server: ScriptedServer) -> None:
    server.leader = "pod-a"
    elector.start()
    assert elector.wait_until_leader(PATIENCE)


def test_a_scheduler_started_while_following_runs_no_job(
    elector: Elector, scheduler: BackgroundScheduler
) -> None:
    ran = Event()
    bind(elector, scheduler)
    scheduler.add_job(ran.set)  # due at once
    scheduler.start()
    assert scheduler.state == STATE_PAUSED
    assert not ran.wait(0.2)


def test_a_running_scheduler_is_paused_when_it_is_bound(
    elector: Elector, scheduler: BackgroundScheduler
) -> None:
    scheduler.start()
    bind(elector, scheduler)
    assert scheduler.state == STATE_PAUSED


def test_a_scheduler_started_while_leading_runs(
    elector: Elector, scheduler: BackgroundScheduler, server: ScriptedServer
) -> None:
    binding = bind(elector, scheduler)
    lead(elector, server)
    until(lambda: binding.leadership is not None, "the leadership to be announced")
    ran = Event()
    scheduler.add_job(ran.set)
    scheduler.start()
    assert ran.wait(PATIENCE)
    elector.stop()
    assert scheduler.state == STATE_PAUSED


def test_election_and_start_at_once_always_agree(
    elector: Elector, scheduler: BackgroundScheduler, server: ScriptedServer
) -> None:
    bind(elector, scheduler)
    server.leader = "pod-a"
    elector.start()
    scheduler.start()
    until(lambda: scheduler.state == STATE_RUNNING, "the scheduler to run")


def test_an_election_during_the_pause_at_the_start_counts(
    elector: Elector, server: ScriptedServer
) -> None:
    class Slow(BackgroundScheduler):  # type: ignore[misc]  # APScheduler has no types
        def pause(self) -> None:
            server.elect("pod-a")
            until(lambda: binding.leadership is not None, "the leadership to be announced")
            super().pause()

    scheduler = Slow()
    binding = bind(elector, scheduler)
    server.leader = "pod-b"
    elector.start()
    server.wait_streams()
    scheduler.start()
    try:
        assert scheduler.state == STATE_RUNNING
    finally:
        scheduler.shutdown()


def test_a_job_gets_the_leadership_it_runs_under(
    elector: Elector, scheduler: BackgroundScheduler, server: ScriptedServer
) -> None:
    binding = bind(elector, scheduler)
    got: queue.Queue[Leadership | bool] = queue.Queue()

    @binding.with_leadership
    def job(leadership: Leadership, word: str) -> None:
        got.put(leadership)
        got.put(leadership.wait(PATIENCE))

    scheduler.add_job(job, args=["word"], misfire_grace_time=None)
    scheduler.start()
    lead(elector, server)
    leadership = got.get(timeout=PATIENCE)
    assert isinstance(leadership, Leadership)
    assert leadership.number == 1
    began = time.monotonic()
    server.elect("pod-b")
    assert got.get(timeout=PATIENCE) is True
    assert time.monotonic() - began < SWITCH
    assert leadership.ended


def test_a_run_outside_of_a_leadership_is_skipped(
    elector: Elector, scheduler: BackgroundScheduler
) -> None:
    binding = bind(elector, scheduler)

    @binding.with_leadership
    def job(_: Leadership) -> str:
        return "ran"

    @binding.with_leadership
    async def async_job(_: Leadership) -> str:
        return "ran"

    assert job() is SKIPPED
    assert asyncio.run(async_job()) is SKIPPED
    assert job.__qualname__.endswith("job"), "job stores keep jobs by name"


def test_remove_undoes_bind(
    elector: Elector, scheduler: BackgroundScheduler, server: ScriptedServer
) -> None:
    binding: Binding = bind(elector, scheduler)
    binding.remove()
    scheduler.start()
    assert scheduler.state == STATE_RUNNING


@pytest.mark.parametrize("thing", ["pod-a", AsyncElector(Elector(when_unconfigured="follow"))])
def test_an_object_that_is_not_an_elector_is_refused(thing: Any) -> None:
    with pytest.raises(
        TypeError, match=r"bind: expected an Elector, got .*; of an adapter, use .elector"
    ):
        bind(thing, BackgroundScheduler())

"""The Celery adapter: the example's workers and beat as real processes, a folder as the broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from elector_thread import Elector
from elector_thread.integrations import celery as adapter
from elector_thread.local import LocalElector

from .replica import PATIENCE, SWITCH, Replica, environment, wait_streams

# a root user is what containers and CI have: celery warns, and that is all
CELERY = ("-W", "ignore", "-m", "celery", "-A", "celery_app")


@pytest.fixture
def env(local: LocalElector, tmp_path: Path) -> dict[str, str]:
    return environment(local.environ, {"CELERY_FOLDER": str(tmp_path)})


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Celery]:
    """Sends tasks to the example's queue, without importing the example."""
    folder = tmp_path / "elector-thread-celery"
    (folder / "queue").mkdir(parents=True)
    (folder / "sent").mkdir()
    with Celery("client", broker="filesystem://", backend=f"file://{folder}") as app:
        app.conf.broker_transport_options = {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "sent"),
            "control_folder": str(folder / "control"),
        }
        yield app


def result(client: Celery, task: str) -> Any:
    sent = client.send_task(task)
    written = Path(client.conf.broker_transport_options["data_folder_out"])
    for message in written.iterdir():  # whole: a worker may read one while it is being written
        message.rename(written.with_name("queue") / message.name)
    return sent.get(timeout=PATIENCE, interval=0.05)


def worker(env: dict[str, str], *options: str) -> Replica:
    """With such a broker celery itself takes 5 s to end, elector or not: so they are killed."""
    return Replica(*CELERY, "worker", *options, env=env, kill=True)


def test_each_child_of_a_prefork_pool_listens_and_their_parent_does_not(
    local: LocalElector, env: dict[str, str], client: Celery
) -> None:
    with worker(env, "--concurrency=2", "--max-tasks-per-child=1") as replica:
        replica.wait_line("is the leader\n", count=2)
        wait_streams(local, 2)
        assert result(client, "reports.send") == "sent"
        replica.wait_line("is no longer the leader\n")  # that child ends
        replica.wait_line("is the leader\n", count=3)  # and the next one starts
        wait_streams(local, 2)
        local.elect("pod-b")
        replica.wait_line("is no longer the leader\n", count=3, within=SWITCH)
        assert result(client, "reports.send") == adapter.SKIPPED_RESULT == "SKIPPED"


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_pools_have_one_stream(
    local: LocalElector, env: dict[str, str], client: Celery, pool: str
) -> None:
    with worker(env, f"--pool={pool}", "--concurrency=2") as replica:
        replica.wait_line("is the leader\n")
        assert result(client, "reports.state")["is_leader"] is True
        wait_streams(local, 1)


def test_the_leaders_beat_alone_sends(local: LocalElector, env: dict[str, str]) -> None:
    local.elect("pod-b")
    with Replica(*CELERY, "beat", "-l", "DEBUG", env=env) as replica:
        replica.wait_line("beat: Waking up", count=2)  # the tick was due, and is not sent
        wait_streams(local, 1)
        assert replica.printed("Sending due task") == 0
        local.elect("pod-a")
        replica.wait_line("Sending due task tick")
    wait_streams(local, 0)


def test_the_end_of_a_process_stops_only_what_it_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elector = Elector(when_unconfigured="lead")
    monkeypatch.setattr(adapter, "default_elector", lambda: elector)
    monkeypatch.setattr(adapter, "_started", None)
    adapter._stop()
    assert not elector.status().running, "the parent runs no tasks and never starts"
    adapter._start()
    assert elector.status().running
    monkeypatch.setattr(adapter, "os", SimpleNamespace(getpid=lambda: -1))  # as in its child
    adapter._stop()
    assert elector.status().running
    monkeypatch.undo()
    elector.stop()


def test_the_parent_of_a_prefork_pool_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with Elector(when_unconfigured="lead") as elector:
        elector.stop()
        monkeypatch.setattr(adapter, "default_elector", lambda: elector)
        monkeypatch.setattr(adapter, "_started", None)
        prefork = adapter.PreforkPool.__new__(adapter.PreforkPool)
        adapter._start_unless_prefork(SimpleNamespace(pool=prefork))
        assert not elector.status().running
        adapter._start_unless_prefork(SimpleNamespace(pool=object()))
        assert elector.status().running


class Known:
    def __init__(self, is_leader: bool) -> None:
        self.is_leader = is_leader


@pytest.mark.parametrize("is_leader", [True, False])
def test_leader_only_works_with_any_scheduler(
    monkeypatch: pytest.MonkeyPatch, is_leader: bool
) -> None:
    sent: list[str] = []

    class Scheduler:
        def apply_entry(self, entry: str, producer: Any = None) -> None:
            sent.append(entry)

    class Mine(adapter.LeaderOnly, Scheduler): ...

    monkeypatch.setattr(adapter, "default_elector", lambda: Known(is_leader))
    Mine().apply_entry("report")
    assert sent == (["report"] if is_leader else [])

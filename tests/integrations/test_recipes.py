"""Every recipe runs as its page says: its code, its command, two replicas, a change of leader."""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakeredis import TcpFakeServer
from redis import Redis

from elector_thread.local import LocalElector

from ..polling import until
from ..scripted import ScriptedServer
from .replica import PATIENCE, SWITCH, Replica, environment, wait_streams

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
SECTIONS: dict[str, str] = dict(
    re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
)

EXECUTE = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"

CHECK_EACH_SECOND = """
from huey.consumer import Scheduler
Scheduler.periodic_task_seconds = 1
"""
"""Appended to the recipe for Huey, which checks its periodic tasks once a minute."""

ENDED = "; waiting for leadership"
"""What `elector-thread run` prints when the command has ended."""


def code_of(section: str) -> str:
    code: str
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)
    return code


def command_of(section: str) -> list[str]:
    """What runs in each replica."""
    (shown,) = re.findall(
        r"^elector-thread up --replicas 2 -- (.*)$", SECTIONS[section], re.MULTILINE
    )
    return shlex.split(shown)


class Recipe:
    """One recipe as a file in a folder, and its command."""

    def __init__(self, section: str, folder: Path, local: LocalElector, *, more: str = "") -> None:
        self._command = command_of(section)
        self._folder = folder
        self._platform = local.environ
        (folder / "reports.py").write_text(code_of(section) + more)

    def replica(self, identity: str, **environ: str) -> Replica:
        """Start a replica with this name."""
        programs = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
        env = environment(self._platform, programs, environ, identity=identity)
        return Replica("-S", "-c", EXECUTE, *self._command, env=env, cwd=self._folder)


@pytest.mark.parametrize(
    ("section", "work", "ends", "more"),
    [
        ("Huey: periodic tasks", "Enqueueing periodic task", "", CHECK_EACH_SECOND),
        ("Dramatiq with APScheduler", "a report is sent", "", ""),
        ("taskiq: scheduler", "a report is sent", ENDED, ""),
        ("schedule", "a report is sent", ENDED, ""),
        ("A consumer thread: Kafka", "message", "the consumer is closed", ""),
    ],
    ids=["Huey", "Dramatiq", "taskiq", "schedule", "Kafka"],
)
def test_only_the_leader_works(
    local: LocalElector, tmp_path: Path, section: str, work: str, ends: str, more: str
) -> None:
    recipe = Recipe(section, tmp_path, local, more=more)
    with recipe.replica("pod-a") as first, recipe.replica("pod-b") as second:
        wait_streams(local, 2)
        first.wait_line(work)
        assert second.printed(work) == 0
        local.elect("pod-b")
        second.wait_line(work, within=SWITCH)
        if ends:
            first.wait_line(ends, within=SWITCH)
        end_together(first, second)


def end_together(*replicas: Replica) -> None:
    """Send SIGTERM to all at once: one after the other, they take longer to end."""
    for replica in replicas:
        replica.process.terminate()


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = TcpFakeServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with Redis(port=server.server_address[1]) as connection:
        yield connection
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


def test_rq_scheduler_continues_with_the_schedule_on_the_next_leader(
    local: LocalElector, tmp_path: Path, redis: Redis
) -> None:
    def enqueued() -> int:
        count: int = redis.llen("rq:queue:reports")
        return count

    recipe = Recipe("rq-scheduler", tmp_path, local)
    port = redis.connection_pool.connection_kwargs["port"]
    where = {"REDIS_URL": f"redis://127.0.0.1:{port}"}
    with recipe.replica("pod-a", **where) as first, recipe.replica("pod-b", **where) as second:
        wait_streams(local, 2)
        first.wait_line("the scheduler runs")
        until(enqueued, "the job to be enqueued", PATIENCE)
        assert second.printed("the scheduler runs") == 0
        local.elect("pod-b")
        first.wait_line(ENDED, within=SWITCH)
        before = enqueued()
        second.wait_line("the scheduler runs", within=SWITCH)
        until(lambda: enqueued() > before, "the job to be enqueued again", PATIENCE)
        assert redis.zrange("rq:scheduler:scheduled_jobs", 0, -1) == [b"send-report"]
        end_together(first, second)


def test_a_consumer_does_not_commit_what_it_handled_after_the_end_of_its_leadership(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
    recipe: dict[str, Any] = {"__name__": "reports"}
    exec(compile(code_of("A consumer thread: Kafka"), "docs/recipes.md", "exec"), recipe)
    handled: list[int] = []
    closed = threading.Event()
    again = threading.Event()

    def handle(message: int) -> None:
        handled.append(message)
        if len(handled) == 1:
            server.elect("pod-b")
            until(lambda: not recipe["elector"].is_leader)
        else:
            again.set()

    monkeypatch.setattr(recipe["Consumer"], "close", lambda _: closed.set())
    recipe["handle"] = handle
    server.leader = "pod-a"
    with recipe["elector"]:
        assert closed.wait(PATIENCE)
        assert (handled, recipe["Consumer"].committed) == ([1], 0)
        server.elect("pod-a")
        assert again.wait(PATIENCE)
        until(lambda: recipe["Consumer"].committed > 0)
    assert handled[:2] == [1, 1]
    assert recipe["elector"].status().counts.callback_errors == 0

"""What a process is for, as the modules that load the application show."""

from __future__ import annotations

import os
import sys
import types

import pytest

from elector_thread._runtime import forks
from elector_thread.integrations._process import (
    hold_back,
    is_preloading_master,
    is_server_worker,
    loaders,
)

MASTER = frozenset({"__main__", "gunicorn.app.base", "gunicorn.arbiter"})
WORKER = MASTER | {"gunicorn.workers.base", "gunicorn.workers.sync"}
SCRIPT = frozenset({"__main__"})


def test_loaders_are_the_modules_on_the_stack() -> None:
    assert {__name__, "_pytest.python"} <= loaders()


def test_gunicorn() -> None:
    assert is_preloading_master(MASTER)
    assert not is_server_worker(MASTER)
    assert not is_preloading_master(WORKER)
    assert is_server_worker(WORKER)


@pytest.mark.parametrize("module", ["uvicorn.config", "waitress.runner", "hypercorn.utils"])
def test_servers_that_load_where_they_serve(module: str) -> None:
    assert is_server_worker(SCRIPT | {module})
    assert not is_preloading_master(SCRIPT | {module})


def test_a_script_does_not_serve() -> None:
    assert not is_server_worker(SCRIPT)
    assert not is_preloading_master(SCRIPT)


@pytest.mark.parametrize(
    ("master", "serves"),
    [(os.getpid(), False), (os.getppid(), True), (0, True)],
    ids=["in the master", "in a worker", "without a master"],
)
def test_uwsgi(monkeypatch: pytest.MonkeyPatch, master: int, serves: bool) -> None:
    inside = types.ModuleType("uwsgi")
    inside.masterpid = lambda: master  # type: ignore[attr-defined]  # as uWSGI's has
    monkeypatch.setitem(sys.modules, "uwsgi", inside)
    assert is_server_worker(SCRIPT) is serves
    assert is_preloading_master(SCRIPT) is not serves


@pytest.mark.parametrize(
    ("hook", "when"),
    [(None, "at its first request; to start it"), ("gunicorn", "at its start")],
)
def test_a_master_knows_when_its_workers_start(
    monkeypatch: pytest.MonkeyPatch, hook: str | None, when: str
) -> None:
    for name in ("gunicorn", "uwsgi"):
        monkeypatch.delitem(sys.modules, f"elector_thread.integrations.{name}", raising=False)
    if hook is not None:
        name = f"elector_thread.integrations.{hook}"
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    hold_back()
    try:
        assert forks.is_held_back()
        assert forks.when_workers_start.startswith(when)
    finally:
        forks.let_go()

"""multiprocessing by fork, spawn and forkserver; a pool; pytest-xdist."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from elector_thread import Elector
from tests.conftest import MakeElector
from tests.scripted import ScriptedServer

PATIENCE = 20.0


def ask() -> tuple[int, bool]:
    """What a child sees that has imported the app, and asks."""
    mine = Elector(identity="pod-a").start()
    try:
        return os.getpid(), mine.wait_until_leader(PATIENCE)
    finally:
        mine.stop()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_that_asks_leads(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    server.leader = "pod-a"
    context = multiprocessing.get_context(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forks with threads alive
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            pid, leads = pool.submit(ask).result(PATIENCE)
    assert leads
    assert pid != os.getpid()


def test_children_of_a_pool_that_never_ask_open_nothing(
    make_elector: MakeElector, server: ScriptedServer
) -> None:
    server.leader = "pod-a"
    running = make_elector().start()
    assert running.wait_until_leader(PATIENCE)
    server.wait_streams()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            assert list(pool.map(abs, range(-4, 0))) == [4, 3, 2, 1]
    subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=PATIENCE)
    assert server.stream_requests == 1
    assert running.is_leader


SUITE = """
from elector_thread import Elector

def test_leads():
    with Elector(when_unconfigured="lead") as elector:
        assert elector.wait_until_leader(20)
        assert elector.only_on_leader(lambda: 1)() == 1

def test_follows():
    with Elector(when_unconfigured="follow") as elector:
        assert not elector.is_leader
"""


def test_a_suite_that_uses_the_library_runs_under_xdist(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist.plugin", "-n", "2"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # others take their time
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert done.stderr == ""

"""The adapters alone, where a server would be too much to ask a question of."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from elector_thread import Elector, State
from elector_thread._runtime import forks
from elector_thread.integrations import gunicorn
from elector_thread.integrations.uvicorn import App, steps_down


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    forks.let_go()


@pytest.fixture
def leader() -> Iterator[Elector]:
    with Elector(when_unconfigured="lead") as elector:
        assert elector.is_leader
        yield elector


class TestGunicorn:
    def test_imported_elsewhere_it_holds_nothing_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "gunicorn.arbiter", raising=False)
        importlib.reload(gunicorn)
        assert not forks.is_held_back()

    def test_a_worker_that_ends_steps_down(self, leader: Elector) -> None:
        gunicorn.worker_exit(None, SimpleNamespace(pid=os.getpid()))
        assert leader.state is State.UNKNOWN

    def test_the_master_that_buries_a_worker_does_not(self, leader: Elector) -> None:
        gunicorn.worker_exit(None, SimpleNamespace(pid=1))
        assert leader.is_leader


class TestUwsgi:
    def load(self, monkeypatch: pytest.MonkeyPatch, **given: Any) -> ModuleType:
        defaults = {
            "worker_id": lambda: 0,
            "masterpid": os.getpid,
            "has_threads": 1,
            "post_fork_hook": None,
        }
        server = SimpleNamespace(**{**defaults, **given})
        monkeypatch.setitem(sys.modules, "uwsgi", server)
        monkeypatch.delitem(sys.modules, "elector_thread.integrations.uwsgi", raising=False)
        importlib.import_module("elector_thread.integrations.uwsgi")
        return server

    def test_outside_of_uwsgi_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "elector_thread.integrations.uwsgi", raising=False)
        with pytest.raises(ImportError, match="works only inside uWSGI"):
            importlib.import_module("elector_thread.integrations.uwsgi")

    def test_it_says_what_is_amiss_without_threads(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "elector_thread"):
            self.load(monkeypatch, has_threads=0)
        assert "enable-threads = true" in caplog.text

    def test_with_threads_it_says_nothing(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.load(monkeypatch)
        assert not caplog.records

    def test_the_master_holds_back_and_a_worker_lets_go(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        called: list[str] = []
        server: Any = self.load(monkeypatch, post_fork_hook=lambda: called.append("the app's own"))
        with Elector(when_unconfigured="lead") as elector:
            assert (elector.is_leader, elector.status().running) == (False, False)
            server.worker_id = lambda: 1
            server.post_fork_hook()
            assert elector.is_leader
        assert called == ["the app's own"]

    def test_a_mule_starts_nothing_before_it_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server: Any = self.load(monkeypatch)
        with Elector(when_unconfigured="lead") as elector:
            server.post_fork_hook()
            assert not elector.status().running

    def test_a_module_of_the_same_name_is_left_alone(self) -> None:
        code = "import sys, types; sys.modules['uwsgi'] = types.ModuleType('uwsgi')\n"
        code += "import elector_thread"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=50)

    def test_a_lazy_worker_holds_nothing_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.load(monkeypatch, worker_id=lambda: 1, masterpid=lambda: 1)
        assert not forks.is_held_back()


async def knows_no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError(scope["type"])


async def knows_lifespan(scope: Any, receive: Any, send: Any) -> None:
    for step in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{step}"
        await send({"type": f"lifespan.{step}.complete"})


async def cannot_start(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "lifespan.startup.failed"})
    raise RuntimeError("no database")


class TestUvicorn:
    def live(self, app: App, elector: Elector) -> list[tuple[str, bool]]:
        """What was sent, and whether the elector led at that moment."""
        received = iter(["lifespan.startup", "lifespan.shutdown"])
        sent: list[tuple[str, bool]] = []

        async def receive() -> dict[str, Any]:
            return {"type": next(received)}

        async def send(message: Any) -> None:
            sent.append((message["type"], elector.is_leader))

        asyncio.run(steps_down(app)({"type": "lifespan"}, receive, send))
        return sent

    @pytest.mark.parametrize("app", [knows_no_lifespan, knows_lifespan])
    def test_the_end_is_answered_after_stepping_down(self, leader: Elector, app: App) -> None:
        assert self.live(app, leader) == [
            ("lifespan.startup.complete", True),
            ("lifespan.shutdown.complete", False),
        ]

    def test_an_app_that_cannot_start_says_so_itself(self, leader: Elector) -> None:
        with pytest.raises(RuntimeError, match="no database"):
            self.live(cannot_start, leader)

    def test_requests_pass_through(self) -> None:
        with pytest.raises(NotImplementedError, match="http"):
            asyncio.run(steps_down(knows_no_lifespan)({"type": "http"}, None, None))  # type: ignore[arg-type]  # not called

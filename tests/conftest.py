from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from elector_thread import Elector

from .scripted import ScriptedServer

FAST = {
    "poll_interval": 0.1,
    "reconcile_interval": 0.3,
    "grace_period": 30.0,
    "request_timeout": 2.0,
}
"""Short intervals, and a grace period that no test outlives by accident."""

# How long an example takes says something about the machine, which may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

MakeElector = Callable[..., Elector]


def pytest_configure() -> None:
    """A shell ignores these signals for what it runs in the background (and nohup another), and
    whatever a test starts would ignore them, too: undo that."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            interrupts = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupts else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests say themselves what the environment holds."""
    for name in list(os.environ):
        if name.startswith(("ELECTOR_", "NAIS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def make_elector(server: ScriptedServer) -> Iterator[MakeElector]:
    """Electors that talk to `server` as pod-a, stopped at the end."""
    made: list[Elector] = []

    def make(**settings: Any) -> Elector:
        urls = {"get_url": server.get_url, "sse_url": server.sse_url}
        if "get_url" in settings:
            urls = {}
        elector = Elector(**{"identity": "pod-a", **urls, **FAST, **settings})
        made.append(elector)
        return elector

    yield make
    for elector in made:
        elector.stop()

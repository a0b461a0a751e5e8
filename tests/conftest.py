from __future__ import annotations

import os
import signal
from collections import Counter
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
"""Short intervals, and a grace period that is longer than any test."""

# The time that an example takes depends on the machine, which may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

MakeElector = Callable[..., Elector]


def pytest_configure() -> None:
    """Undo what the processes that a test starts should not inherit from the caller.

    Unbuffered output is written in pieces, and a line may be torn by another process's.
    A shell ignores SIGINT and SIGQUIT for background commands, and nohup ignores SIGHUP.
    """
    os.environ.pop("PYTHONUNBUFFERED", None)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            interrupts = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupts else signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the groups of tests that were left out, and why, in one line."""
    reports = terminalreporter.stats.get("skipped", [])
    groups = Counter(left_out(report) for report in reports)
    if groups:
        named = [f"{file}: {count} ({why})" for (file, why), count in sorted(groups.items())]
        terminalreporter.write_line(f"tests left out: {'; '.join(named)}")


def left_out(report: pytest.TestReport) -> tuple[str, str]:
    """The file of a skipped test, and the reason."""
    assert isinstance(report.longrepr, tuple)
    reason = report.longrepr[2].removeprefix("Skipped: ").removeprefix("NOT TESTED: ")
    return report.nodeid.partition("::")[0], reason


@pytest.fixture(autouse=True)
def no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the platform's variables; a test sets those that it needs."""
    for name in list(os.environ):
        if name.startswith(("ELECTOR_", "NAIS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def make_elector(server: ScriptedServer) -> Iterator[MakeElector]:
    """Make electors that use `server` as pod-a, and stop them at the end."""
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

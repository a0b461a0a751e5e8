from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from elector_thread._guarded import JOBS
from elector_thread._runtime import forks
from elector_thread._runtime.process import electors
from elector_thread._state.health import observers
from elector_thread.instrumentation import Event, _recorder, add_observer, prometheus
from tests.scripted import PATIENCE


@pytest.fixture
def own_recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test instruments ends with it, and sees no elector of an earlier test."""
    for elector in electors():
        elector._runtime.stop(PATIENCE)
    before, hooks = list(observers), list(forks._callbacks)
    monkeypatch.setattr(_recorder, "_recorders", [])
    jobs = dict(JOBS)
    JOBS.clear()
    yield
    observers[:] = before
    forks._callbacks[:] = hooks
    JOBS.clear()
    JOBS.update(jobs)


@pytest.fixture
def registry(own_recorder: None) -> CollectorRegistry:
    """A registry that was instrumented."""
    made = CollectorRegistry()
    prometheus.instrument(registry=made)
    return made


@pytest.fixture
def seen(own_recorder: None) -> list[Event]:
    """Every event of every elector."""
    events: list[Event] = []
    add_observer(events.append)
    return events

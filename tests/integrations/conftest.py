from __future__ import annotations

from collections.abc import Iterator

import pytest

from elector_thread.local import LocalElector

from .replica import wait_streams


@pytest.fixture(scope="module")
def served_elector() -> Iterator[LocalElector]:
    with LocalElector() as local:
        yield local


@pytest.fixture
def local(served_elector: LocalElector) -> LocalElector:
    """A local elector with pod-a as the leader, and without open streams."""
    wait_streams(served_elector, 0)
    served_elector.elect("pod-a")
    return served_elector

from __future__ import annotations

from collections.abc import Iterator

import pytest

from elector_thread.local import LocalElector


@pytest.fixture(scope="module")
def running() -> Iterator[LocalElector]:
    with LocalElector() as elector:
        yield elector


@pytest.fixture
def local(running: LocalElector) -> Iterator[LocalElector]:
    """A local elector without faults, replicas or leader; the module shares one server."""
    running.set_process_hooks()
    yield running
    running.set_process_hooks()
    running.clear()
    for replica in running.state()["replicas"]:
        running.remove_replica(replica["name"])
    elected_by_hand = running.state()["leader"]
    if elected_by_hand is not None:  # leads for life: let it live and die
        running.add_replica(elected_by_hand)
        running.remove_replica(elected_by_hand)

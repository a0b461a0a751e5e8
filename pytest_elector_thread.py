"""The pytest plugin of elector-thread: two fixtures and a marker.

pytest imports this module in every run. It is not a part of the package `elector_thread`,
because that would import the whole library and requests. Both are imported only when a test
uses a fixture or the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from elector_thread.local import LocalElector
    from elector_thread.testing import FakeElector

MARKER = "leader(leading=True): every elector of this process answers that it is the leader, or not"

_exit = pytest.StashKey[Callable[[], None]]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for ``--strict-markers`` and ``--markers``."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def fake_elector() -> Iterator[FakeElector]:
    """A `FakeElector` before its first election; also the process-wide elector in this test."""
    from elector_thread.testing import FakeElector, use_as_default

    fake = FakeElector()
    with use_as_default(fake):
        yield fake


@pytest.fixture
def local_elector(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalElector]:
    """A local elector on a loopback port; in this test, the platform's variables point to it.

    The test has its own process-wide elector, which is stopped after the test.
    """
    try:
        from elector_thread.local import LocalElector
    except ModuleNotFoundError as error:  # the extra is not installed: fail without a traceback
        pytest.fail(f"local_elector: {error}", pytrace=False)
    from elector_thread.testing import own_default_elector

    with LocalElector() as local:
        for name, value in local.environ.items():
            monkeypatch.setenv(name, value)
        with own_default_elector():
            yield local


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.leader``: the override begins before the test's own fixtures."""
    marker = item.get_closest_marker("leader")
    if marker is None:
        return
    from elector_thread.testing import override_leader

    try:
        override = override_leader(*marker.args, **marker.kwargs)
    except TypeError:
        pytest.fail(
            f"pytest.mark.leader: expected no argument, True or False, "
            f"got {marker.args} {marker.kwargs}",
            pytrace=False,
        )
    stack = ExitStack()
    stack.enter_context(override)
    item.stash[_exit] = stack.close


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """The override ends after the test's own fixtures."""
    try:
        return (yield)
    finally:
        if _exit in item.stash:
            item.stash[_exit]()
            del item.stash[_exit]

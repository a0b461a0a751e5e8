"""The pytest plugin of elector-thread: fixtures and a marker, imported in every pytest run.

A top-level module of its own, since importing anything below `elector_thread` imports
the whole library and requests with it. Nothing of either is imported before a test
uses the fixtures or the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from elector_thread.local import LocalElector
    from elector_thread.testing import FakeElector

MARKER = (
    "leader(leading=True): every elector of this process says that it leads, or that it does not"
)

_exit = pytest.StashKey[Callable[[], None]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for ``--strict-markers`` and ``--markers``."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def fake_elector() -> Iterator[FakeElector]:
    """A `FakeElector` that nobody has elected yet; also the process-wide elector of this test."""
    from elector_thread.testing import FakeElector, use_as_default

    fake = FakeElector()
    with use_as_default(fake):
        yield fake


@pytest.fixture
def local_elector(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalElector]:
    """A real elector on a loopback port, which the platform's variables point to in this test.

    The process-wide elector is made anew for this test, and stopped after it.
    """
    try:
        from elector_thread.local import LocalElector
    except ModuleNotFoundError as error:  # the extra; told in one line
        pytest.fail(f"local_elector: {error}", pytrace=False)
    from elector_thread.testing import own_default_elector

    with LocalElector() as local:
        for name, value in local.environ.items():
            monkeypatch.setenv(name, value)
        with own_default_elector():
            yield local


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.leader``: in force from before the test's fixtures until after them."""
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
    """The override ends when the test's fixtures have ended."""
    try:
        return (yield)
    finally:
        if _exit in item.stash:
            item.stash[_exit]()
            del item.stash[_exit]

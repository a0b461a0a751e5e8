"""`override_leader`, and the two ways to swap the process-wide elector."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import elector_thread.default
from elector_thread import (
    SKIPPED,
    ConfigurationError,
    Elector,
    State,
    configure,
    default_elector,
    only_on_leader,
)
from elector_thread.testing import (
    ANOTHER_POD,
    FakeElector,
    override_leader,
    own_default_elector,
    use_as_default,
)


@only_on_leader
def guarded() -> str:
    return "done"


@only_on_leader
async def guarded_async() -> str:
    return "done"


@pytest.fixture(autouse=True)
def no_default() -> Iterator[None]:
    with own_default_elector():
        yield


@pytest.fixture
def elector() -> Elector:
    return Elector(get_url="http://127.0.0.1:9/", identity="pod-a")


def everything(elector: Elector) -> tuple[object, ...]:
    return (
        elector.is_leader,
        elector.state,
        elector.leader,
        elector.status().is_leader,
        elector.status().state,
        elector.status().leader,
    )


UNKNOWN = (False, State.UNKNOWN, None) * 2
LEADER = (True, State.LEADER, "pod-a") * 2
FOLLOWER = (False, State.FOLLOWER, ANOTHER_POD) * 2


def test_every_elector_answers_so_until_the_override_ends(elector: Elector) -> None:
    before = dict(vars(Elector)), dict(vars(FakeElector))
    with override_leader(True):
        assert everything(elector) == LEADER
        assert everything(FakeElector(identity="pod-a", leading=False)) == LEADER
        assert elector.refresh().is_leader
        assert elector.wait_until_leader()
    with override_leader(False):
        assert everything(elector) == FOLLOWER
        assert everything(FakeElector(identity="pod-a", leading=True)) == FOLLOWER
        assert not elector.wait_until_leader()
        assert elector.wait_until_known()
    assert everything(elector) == UNKNOWN
    assert (dict(vars(Elector)), dict(vars(FakeElector))) == before


def test_the_innermost_counts(elector: Elector) -> None:
    with override_leader(True):
        with override_leader(False), override_leader(True), override_leader(False):
            assert everything(elector) == FOLLOWER
        assert everything(elector) == LEADER
    assert everything(elector) == UNKNOWN


def test_one_override_may_be_entered_twice(elector: Elector) -> None:
    override = override_leader(True)
    with override, override:
        assert elector.is_leader
    assert not elector.is_leader


def test_an_exception_ends_it(elector: Elector) -> None:
    with pytest.raises(ZeroDivisionError), override_leader(True):
        1 / elector.is_leader - 1 / (not elector.is_leader)
    assert everything(elector) == UNKNOWN


def test_it_holds_in_every_thread(elector: Elector) -> None:
    seen: list[bool] = []
    with override_leader(True):
        thread = threading.Thread(target=lambda: seen.append(elector.is_leader))
        thread.start()
        thread.join()
    assert seen == [True]


def test_it_does_not_touch_what_the_elector_itself_knows() -> None:
    fake = FakeElector(leading=True)
    called: list[str] = []
    fake.on_demoted(lambda: called.append("demoted"))
    with override_leader(False):
        assert called == []
    assert fake.is_leader
    with override_leader(True):
        fake.demote()
    assert called == ["demoted"]
    assert fake.state is State.FOLLOWER


# --- the guard and the process-wide elector ----------------------------------------------------


def test_guarded_calls_need_neither_environment_nor_network() -> None:
    before = threading.enumerate()
    with override_leader(True):
        assert guarded() == "done"
        assert asyncio.run(guarded_async()) == "done"
        assert default_elector().is_leader
    with override_leader(False):
        assert guarded() is SKIPPED
        assert asyncio.run(guarded_async()) is SKIPPED
    assert threading.enumerate() == before
    with pytest.raises(ConfigurationError, match="ELECTOR_GET_URL"):
        guarded()


def test_an_application_may_configure_within_it_as_often_as_it_likes() -> None:
    for _ in range(2):
        with override_leader(True):
            assert configure(grace_period=60).is_leader
            assert guarded() == "done"
    assert not elector_thread.default.current.in_use


def test_a_process_wide_elector_that_is_in_use_stays_the_one() -> None:
    configure(when_unconfigured="follow")
    mine = default_elector()
    assert mine.wait_until_known(20)
    with override_leader(True):
        assert default_elector() is mine
        assert guarded() == "done"
    assert guarded() is SKIPPED


def test_an_elector_may_be_the_process_wide_one_for_a_while() -> None:
    fake = FakeElector()
    before = elector_thread.default.current
    with use_as_default(fake):
        assert default_elector() is configure() is fake
        assert guarded() is SKIPPED
        fake.elect()
        assert guarded() == "done"
    assert elector_thread.default.current is before


def test_an_own_default_elector_is_stopped_at_the_end() -> None:
    with own_default_elector():
        configure(when_unconfigured="lead")
        mine = default_elector()
        assert mine.wait_until_leader(20)
    assert not mine.status().running


# --- as a decorator -------------------------------------------------------------------------------


@override_leader(True)
def test_it_decorates_a_function(elector: Elector) -> None:
    assert elector.is_leader


class TestMethods:
    @override_leader(True)
    def test_it_decorates_a_method(self, elector: Elector) -> None:
        assert isinstance(self, TestMethods)
        assert elector.is_leader


def test_it_decorates_a_coroutine_function(elector: Elector) -> None:
    @override_leader(True)
    async def ask() -> bool:
        await asyncio.sleep(0)
        return elector.is_leader

    async def both() -> tuple[bool, bool]:
        return await ask(), elector.is_leader

    assert asyncio.run(both()) == (True, False)


def test_it_decorates_a_generator(elector: Elector) -> None:
    @override_leader(True)
    def fixture() -> Iterator[bool]:
        yield elector.is_leader
        yield elector.is_leader

    assert list(fixture()) == [True, True]
    assert not elector.is_leader


def test_a_decorated_function_may_recurse(elector: Elector) -> None:
    @override_leader(True)
    def count(n: int) -> int:
        assert elector.is_leader
        return 0 if n == 0 else 1 + count(n - 1)

    assert count(3) == 3
    assert not elector.is_leader
    assert count.__name__ == "count"


def test_what_it_cannot_decorate_or_mean_is_refused() -> None:
    with pytest.raises(TypeError, match="a function"):
        override_leader(True)(TestMethods)
    with pytest.raises(TypeError, match="True or False"):
        override_leader("yes")  # type: ignore[arg-type]  # what is tested

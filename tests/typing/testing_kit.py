"""Never run: mypy checks that the testing kit has the types that users rely on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

from elector_thread import Elector, Leadership, Status
from elector_thread.testing import (
    FakeElector,
    override_leader,
    own_default_elector,
    use_as_default,
)

fake = FakeElector(leading=True, identity="pod-a", grace_period=60)
elector: Elector = fake
assert_type(fake.start(), FakeElector)
assert_type(fake.is_leader, bool)
assert_type(fake.refresh(), Status)


@fake.while_leader
def work(leadership: Leadership) -> None: ...


assert_type(fake.run_leader_task(work, seconds=10), bool)


@override_leader(True)
def plain(number: int) -> str:
    return str(number)


@override_leader(False)
async def later() -> int:
    return 1


@override_leader()
def fixture() -> Iterator[int]:
    yield 1


assert_type(plain(1), str)
plain("one")  # type: ignore[arg-type]  # the decorator keeps the parameters' types
FakeElector(grace_periode=60)  # type: ignore[call-arg]  # a misspelt argument

with override_leader(True) as override, use_as_default(fake) as default, own_default_elector():
    assert_type(override, override_leader)
    assert_type(default, FakeElector)


def any_elector(given: Elector) -> None:
    with use_as_default(given) as real:
        assert_type(real, Elector)

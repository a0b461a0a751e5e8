"""Never run: mypy checks that the public names have the types that users rely on."""

from __future__ import annotations

from typing import Any, assert_type

from elector_thread import (
    Elector,
    LeaderChange,
    Leadership,
    State,
    Status,
    configure,
    default_elector,
    only_on_leader,
)

elector = Elector(get_url="http://localhost:4040/", identity="pod-a", grace_period=60)
assert_type(elector.start(), Elector)
assert_type(elector.stop(timeout=1.0), bool)
assert_type(elector.is_leader, bool)
assert_type(elector.leader, str | None)
assert_type(elector.state, State)
assert_type(elector.status(), Status)
assert_type(elector.refresh(), Status)
assert_type(elector.status().as_dict(), dict[str, Any])
assert_type(elector.wait_until_leader(timeout=1), bool)
assert_type(default_elector(), Elector)
configure(when_unconfigured="follow")


@elector.on_elected
def began(leadership: Leadership) -> None:
    assert_type(leadership.ended, bool)
    assert_type(leadership.wait(1.0), bool)


@elector.on_demoted
def ended() -> None: ...


@elector.on_leader_change
def changed(change: LeaderChange) -> None:
    assert_type(change.previous, str | None)


@elector.while_leader
def work(leadership: Leadership) -> None: ...


assert_type(elector.remove(began), bool)


@only_on_leader
def plain(number: int) -> str:
    return str(number)


plain(1)
plain("one")  # type: ignore[arg-type]  # the guard keeps the parameters' types


@only_on_leader(raises=True)
def strict() -> int:
    return 1


@elector.only_on_leader
async def later() -> int:
    return 1


class Job:
    @only_on_leader(otherwise=None, wait=0.5)
    def run(self) -> None: ...


with Elector() as running:
    assert_type(running, Elector)

"""Never run: mypy checks that the public names have the types that users rely on."""

from __future__ import annotations

from typing import Any, Literal, assert_type

from elector_thread import (
    SKIPPED,
    Elector,
    LeaderChange,
    Leadership,
    State,
    Status,
    TaskStatus,
    configure,
    default_elector,
    only_on_leader,
)
from elector_thread.aio import AsyncElector, AsyncLeadership
from elector_thread.fencing import FencedLeadership
from elector_thread.guard import Skipped

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
assert_type(configure(when_unconfigured="follow"), Elector)

Elector(grace_periode=60)  # type: ignore[call-arg]  # a misspelt setting
Elector(scope="prozess")  # type: ignore[arg-type]  # not a choice
Elector(grace_period="60")  # type: ignore[arg-type]  # not a number
Elector("http://localhost:4040/")  # type: ignore[call-arg]  # settings have names
configure(grace_periode=60)  # type: ignore[call-arg]  # a misspelt setting
configure(when_unconfigured="folow")  # type: ignore[arg-type]  # not a choice


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


@elector.while_leader
async def work_async(leadership: AsyncLeadership) -> None:
    assert_type(await leadership.wait(1.0), bool)
    assert_type(leadership.fence, int | None)
    leadership.check()


assert_type(elector.remove(began), bool)
assert_type(elector.status().tasks, tuple[TaskStatus, ...])


# --- on an event loop --------------------------------------------------------------------------

asynchronous = AsyncElector()
AsyncElector(elector)
AsyncElector(grace_period="60")  # type: ignore[arg-type]  # not a number
assert_type(asynchronous.elector, Elector)
assert_type(asynchronous.start(), AsyncElector)
assert_type(asynchronous.is_leader, bool)
assert_type(asynchronous.status(), Status)


@asynchronous.on_elected
async def began_async(leadership: AsyncLeadership) -> None:
    assert_type(await leadership.wait(), bool)
    fenced: FencedLeadership = leadership
    assert_type(fenced.fence, int | None)


@asynchronous.while_leader
async def task(leadership: AsyncLeadership) -> None: ...


@asynchronous.while_leader
def thread(leadership: Leadership) -> None:
    assert_type(leadership.wait(), bool)


async def on_a_loop() -> None:
    async with asynchronous as entered:
        assert_type(entered, AsyncElector)
    assert_type(await asynchronous.stop(), bool)
    assert_type(await asynchronous.refresh(), Status)
    assert_type(await asynchronous.wait_until_leader(timeout=1), bool)
    async for change in asynchronous.changes():
        assert_type(change, LeaderChange)


# --- the guard ---------------------------------------------------------------------------------


@only_on_leader
def plain(number: int) -> str:
    return str(number)


@elector.only_on_leader
async def later(number: int) -> str:
    return str(number)


@only_on_leader(wait=0.5, elector=elector)
def patient(number: int) -> str:
    return str(number)


@elector.only_on_leader(wait=0.5)
async def patient_later(number: int) -> str:
    return str(number)


@only_on_leader(raises=True)
def strict(number: int) -> str:
    return str(number)


@only_on_leader(raises=True)
async def strict_later(number: int) -> str:
    return str(number)


@only_on_leader(otherwise=0)
def with_value(number: int) -> str:
    return str(number)


@only_on_leader(otherwise=0)
async def with_value_later(number: int) -> str:
    return str(number)


def instead(number: int) -> float:
    return number / 2


async def instead_later(number: int) -> float:
    return number / 2


@only_on_leader(otherwise=instead)
def with_function(number: int) -> str:
    return str(number)


@only_on_leader(otherwise=instead)
async def with_function_later(number: int) -> str:
    return str(number)


@only_on_leader(otherwise=instead_later)
async def with_async_function_later(number: int) -> str:
    return str(number)


@only_on_leader(otherwise=lambda number: str(number))
def with_lambda(number: int) -> str:
    return str(number)


@only_on_leader
def unknown(number: int) -> Any: ...


class Job:
    @only_on_leader(otherwise=None, wait=0.5)
    def run(self) -> str:
        return "ran"

    @only_on_leader
    async def run_later(self, number: int) -> str:
        return str(number)

    @classmethod
    @only_on_leader
    def of_class(cls) -> str:
        return "ran"

    @property
    @only_on_leader(raises=True)
    def result(self) -> str:
        return "ran"


plain("one")  # type: ignore[arg-type]  # the guard keeps the parameters' types
strict("one")  # type: ignore[arg-type]
with_value("one")  # type: ignore[arg-type]

assert_type(plain(1), str | Skipped)
assert_type(patient(1), str | Skipped)
assert_type(strict(1), str)
assert_type(with_value(1), str | int)
assert_type(with_function(1), str | float)
with_lambda(1).upper()
unknown(1).anything()  # type: ignore[no-untyped-call]  # what is not known stays so
assert_type(Job().run(), str | None)
assert_type(Job.of_class(), str | Skipped)
assert_type(Job().result, str)
only_on_leader(otherwise=1, raises=True)  # type: ignore[call-overload]  # either, or


async def awaits() -> None:
    assert_type(await later(1), str | Skipped)
    assert_type(await patient_later(1), str | Skipped)
    assert_type(await strict_later(1), str)
    assert_type(await with_value_later(1), str | int)
    assert_type(await with_function_later(1), str | float)
    assert_type(await with_async_function_later(1), str | float)
    assert_type(await Job().run_later(1), str | Skipped)
    later_result = await later(1)
    if later_result is not SKIPPED:
        assert_type(later_result, str)


def narrows() -> None:
    result = plain(1)
    if result is SKIPPED:
        assert_type(result, Literal[Skipped.SKIPPED])
    else:
        assert_type(result, str)
    if result:
        assert_type(result, str)


# -----------------------------------------------------------------------------------------------


with Elector() as running:
    assert_type(running, Elector)

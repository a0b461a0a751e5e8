"""The promises about callbacks: order, pairs, containment, and what they may call."""

from __future__ import annotations

import functools
import itertools
import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from elector_thread import Elector, LeaderChange, Leadership

from .conftest import MakeElector
from .polling import until
from .scripted import PATIENCE, ScriptedServer, answer


class Journal:
    """Records what callbacks did, and lets a test wait for it."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._condition = threading.Condition()

    def add(self, entry: Any) -> None:
        with self._condition:
            self.entries.append(entry)
            self._condition.notify_all()

    def wait(self, count: int) -> list[Any]:
        with self._condition:
            assert self._condition.wait_for(lambda: len(self.entries) >= count, PATIENCE), (
                f"expected {count} entries, got {self.entries}"
            )
            return list(self.entries)


@pytest.fixture
def seen() -> Journal:
    return Journal()


def leading(server: ScriptedServer, elector: Elector) -> Elector:
    server.leader = "pod-a"
    elector.start()
    server.wait_streams()
    assert elector.wait_until_leader(PATIENCE)
    return elector


def test_they_alternate_in_the_order_of_registration_with_the_state_already_flipped(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    for name in ("first", "second"):
        elector.on_elected(
            lambda leadership, name=name: seen.add(
                ("elected", name, elector.is_leader, leadership.ended, leadership.number)
            )
        )
        elector.on_demoted(
            lambda leadership, name=name: seen.add(
                ("demoted", name, elector.is_leader, leadership.ended, leadership.number)
            )
        )
    leading(server, elector)
    seen.wait(2)
    server.elect("pod-b")
    seen.wait(4)
    server.elect("pod-a")
    seen.wait(6)
    assert elector.stop()
    assert seen.entries == [
        (kind, name, kind == "elected", kind == "demoted", number)
        for number in (1, 2)
        for kind in ("elected", "demoted")
        for name in ("first", "second")
    ]


def test_they_run_on_the_dispatch_thread_with_no_lock_held(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    """Another thread can do everything with the elector while a callback runs."""
    elector = make_elector()

    def callback() -> None:
        def everything() -> None:
            elector.status()
            elector.refresh()
            elector.wait_until_known(0)
            elector.on_demoted(lambda: None)
            elector.while_leader(lambda leadership: None)
            elector.start()
            seen.add("done")

        other = threading.Thread(target=everything)
        other.start()
        other.join(PATIENCE)
        seen.add((threading.current_thread().name, other.is_alive()))

    elector.on_elected(callback)
    leading(server, elector)
    assert seen.wait(2) == ["done", ("elector-dispatch", False)]


def test_a_callback_takes_the_leadership_or_nothing(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    class Holder:
        def method(self, leadership: Leadership) -> None:
            seen.add(leadership.number)

        def __call__(self) -> None:
            seen.add("called")

    box: queue.Queue[object] = queue.Queue()
    elector.on_elected(Holder().method)
    elector.on_elected(Holder())
    elector.on_elected(box.put)
    elector.on_elected(functools.partial(seen.add, "partial"))
    elector.on_elected(lambda leadership=None: seen.add(type(leadership).__name__))
    elector.on_elected([].append)
    elector.on_elected(lambda paused=False: seen.add(paused))  # as APScheduler's `start` has it
    leading(server, elector)
    assert seen.wait(5) == [1, "called", "partial", "Leadership", False]
    assert isinstance(box.get(timeout=PATIENCE), Leadership)


async def _async_function(leadership: Leadership) -> None: ...


def _generator(leadership: Leadership) -> Iterator[None]:
    yield


class _AsyncCallable:
    async def __call__(self) -> None: ...


REGISTERS = ["on_elected", "on_demoted", "on_leader_change", "while_leader"]
NOT_CALLBACKS = {
    "None": None,
    "text": "text",
    "number": 7,
    "two": lambda one, two: None,
    "keyword": lambda *, needed: None,
    "generator": _generator,
}
ASYNC = {"async": _async_function, "async callable": _AsyncCallable()}


@pytest.mark.parametrize("register", REGISTERS)
@pytest.mark.parametrize("callback", NOT_CALLBACKS.values(), ids=NOT_CALLBACKS)
def test_anything_else_is_a_type_error_at_registration(
    make_elector: MakeElector, register: str, callback: Any
) -> None:
    with pytest.raises(TypeError, match=register):
        getattr(make_elector(), register)(callback)


@pytest.mark.parametrize("register", REGISTERS[:-1])
@pytest.mark.parametrize("callback", ASYNC.values(), ids=ASYNC)
def test_an_async_callback_is_a_type_error_that_names_what_to_use(
    make_elector: MakeElector, register: str, callback: Any
) -> None:
    with pytest.raises(TypeError, match=rf"{register}.*elector_thread\.aio\.AsyncElector"):
        getattr(make_elector(), register)(callback)


def test_registering_returns_the_callback(make_elector: MakeElector) -> None:
    elector = make_elector()

    @elector.on_elected
    @elector.on_demoted
    @elector.on_leader_change
    @elector.while_leader
    def callback(_: object) -> str:
        return "unchanged"

    assert callback(None) == "unchanged"


def test_registered_while_leading_it_is_told_at_once(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = leading(server, make_elector())
    elector.on_elected(lambda leadership: seen.add(leadership.number))
    seen.wait(1)
    elector.on_elected(lambda leadership: seen.add(("late", leadership.number)))
    assert seen.wait(2) == [1, ("late", 1)]


def test_demoted_is_told_even_if_nobody_listened_for_elected(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = leading(server, make_elector())
    elector.on_elected(lambda: seen.add("elected"))
    seen.wait(1)
    elector.on_demoted(lambda: seen.add("demoted"))
    server.elect("pod-b")
    assert seen.wait(2) == ["elected", "demoted"]


def test_never_demoted_without_being_elected(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    elector.on_demoted(lambda: seen.add("demoted"))
    elector.on_leader_change(lambda change: seen.add(change.current))
    elector.start()
    server.wait_streams()
    server.elect("pod-b")
    seen.wait(1)
    elector.stop()
    assert seen.entries == ["pod-b"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_callback_raises_is_logged_counted_and_contained(
    server: ScriptedServer,
    make_elector: MakeElector,
    seen: Journal,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    elector = make_elector()

    def fails() -> None:
        raise error("boom")

    elector.on_elected(fails)
    elector.on_elected(lambda: seen.add("elected"))
    elector.on_demoted(fails)
    elector.on_demoted(lambda: seen.add("demoted"))
    leading(server, elector)
    seen.wait(1)
    server.elect("pod-b")
    assert seen.wait(2) == ["elected", "demoted"]
    status = elector.status()
    assert status.counts.callback_errors == 2
    assert status.last_error is not None
    assert error.__name__ in status.last_error
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(messages) == 2
    assert "on_elected callback" in messages[0]
    assert "fails" in messages[0]


def test_a_slow_callback_delays_others_but_neither_reads_nor_news(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    entered, release = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        release.wait(PATIENCE)

    elector.on_elected(slow)
    elector.on_demoted(lambda: seen.add("demoted"))
    leading(server, elector)
    assert entered.wait(PATIENCE)
    server.elect("pod-b")
    until(lambda: elector.leader == "pod-b")
    assert not elector.is_leader
    assert seen.entries == []
    release.set()
    seen.wait(1)


def test_what_is_over_is_not_told_and_no_backlog_grows(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    server.on_get = lambda connection: connection.send(answer(b"{}"))  # the stream alone tells
    elector = make_elector()
    entered, release = threading.Event(), threading.Event()

    def slow(leadership: Leadership) -> None:
        seen.add(("elected", leadership.ended))
        if not entered.is_set():
            entered.set()
            release.wait(PATIENCE)

    elector.on_elected(slow)
    elector.on_elected(lambda leadership: seen.add(("second", leadership.ended)))
    elector.on_demoted(lambda: seen.add("demoted"))
    changes: list[LeaderChange] = []
    elector.on_leader_change(changes.append)
    leading(server, elector)
    assert entered.wait(PATIENCE)
    for _ in range(300):
        server.push("pod-b")
        server.push("pod-a")
    server.push("pod-b")
    until(lambda: elector.status().counts.events == 602)
    release.set()
    seen.wait(2)
    server.elect("pod-a")
    seen.wait(4)
    assert seen.entries == [
        ("elected", False),
        "demoted",  # once, though there were 300 more: each was over before its turn
        ("elected", False),
        ("second", False),
    ]
    server.elect("pod-c")
    seen.wait(5)
    elector.stop()
    assert len(changes) <= 20
    assert all(a.current == b.previous for a, b in itertools.pairwise(changes))


def test_leader_changes_name_every_leader_once_and_repeats_are_silent(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    server.on_get = lambda connection: connection.send(answer(b"{}"))  # the stream alone tells
    elector = make_elector()
    elector.on_leader_change(seen.add)
    elector.start()
    server.wait_streams()
    for name in ("pod-b", "pod-b", "pod-a", "pod-a", "pod-c"):
        server.elect(name)
    assert seen.wait(3) == [
        LeaderChange(None, "pod-b"),
        LeaderChange("pod-b", "pod-a"),
        LeaderChange("pod-a", "pod-c"),
    ]


def test_a_handler_that_comes_late_learns_the_present_leader(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    elector.on_leader_change(lambda change: seen.add("first"))
    elector.start()
    server.wait_streams()
    server.elect("pod-b")
    seen.wait(1)
    elector.on_leader_change(seen.add)
    seen.wait(2)
    server.elect("pod-c")
    assert seen.wait(4)[1:] == [
        LeaderChange(None, "pod-b"),
        "first",
        LeaderChange("pod-b", "pod-c"),
    ]


def test_removed_it_is_not_called_again(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    def once() -> None:
        seen.add("once")
        elector.remove(once)
        elector.remove(other)

    def other() -> None:
        seen.add("other")

    elector.on_elected(once)
    elector.on_elected(other)
    elector.on_demoted(once)
    elector.on_demoted(lambda: seen.add("demoted"))
    leading(server, elector)
    until(lambda: elector.is_leader)
    seen.wait(1)
    server.elect("pod-b")
    assert seen.wait(2) == ["once", "demoted"]
    assert not elector.remove(once)


def test_bound_methods_can_be_removed(make_elector: MakeElector, seen: Journal) -> None:
    elector = make_elector()
    elector.on_elected(seen.add)
    assert elector.remove(seen.add)


def test_a_callback_may_stop_the_elector(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    elector.on_elected(lambda: seen.add(("stopped", elector.stop(), elector.is_leader)))
    elector.on_demoted(lambda: seen.add("demoted"))
    leading_soon = elector.start()
    server.wait_streams()
    server.elect("pod-a")
    assert seen.wait(2) == [("stopped", True, False), "demoted"]
    assert leading_soon.stop()
    assert not leading_soon.status().running


def test_a_callback_may_register_remove_and_restart(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()

    def first(leadership: Leadership) -> None:
        elector.remove(first)
        elector.on_elected(second)
        elector.stop()
        elector.start()

    def second(leadership: Leadership) -> None:
        seen.add(leadership.number)

    elector.on_elected(first)
    elector.on_demoted(lambda leadership: seen.add(("demoted", leadership.number)))
    elector.start()
    server.wait_streams()
    server.elect("pod-a")
    assert seen.wait(2) == [("demoted", 1), 2]


def test_an_overrun_is_logged_once_while_it_lasts(
    server: ScriptedServer,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    elector = make_elector()
    release = threading.Event()

    def very_slow() -> None:
        release.wait(PATIENCE)

    elector.on_elected(very_slow)
    leading(server, elector)
    until(lambda: elector.status().counts.overruns == 1)
    server.wait_gets(3)
    release.set()
    elector.stop()
    (message,) = [r.getMessage() for r in caplog.records if "running for" in r.getMessage()]
    assert "very_slow" in message
    assert elector.status().counts.overruns == 1


def test_registering_from_many_threads_loses_nobody(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    barrier = threading.Barrier(8)

    def register(number: int) -> None:
        barrier.wait()
        for index in range(25):
            elector.on_elected(functools.partial(seen.add, (number, index)))

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    leading(server, elector)
    for thread in threads:
        thread.join()
    assert len(set(seen.wait(200))) == 200


# --- the token ---------------------------------------------------------------------------


def test_a_wait_on_the_token_ends_with_the_leadership(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    elector.on_elected(seen.add)
    leading(server, elector)
    (leadership,) = seen.wait(1)
    assert not leadership.ended
    assert not leadership.wait(0)
    assert not leadership.wait(0.01)
    assert repr(leadership) == "<Leadership 1>"
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(leadership.wait()))
    waiter.start()
    server.elect("pod-b")
    waiter.join(PATIENCE)
    assert results == [True]
    assert leadership.ended
    assert leadership.wait(0)
    assert repr(leadership) == "<Leadership 1 ended>"


def test_an_old_token_stays_ended_when_we_lead_again(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector()
    elector.on_elected(seen.add)
    leading(server, elector)
    seen.wait(1)
    server.elect("pod-b")
    until(lambda: not elector.is_leader)
    server.elect("pod-a")
    first, second = seen.wait(2)
    assert (first.ended, second.ended) == (True, False)
    assert (first.number, second.number) == (1, 2)
    assert first.since < second.since


def test_the_token_runs_out_by_itself_while_dispatch_is_stuck(
    server: ScriptedServer, make_elector: MakeElector, seen: Journal
) -> None:
    elector = make_elector(grace_period=1.0, request_timeout=0.3)
    release = threading.Event()

    def stuck(leadership: Leadership) -> None:
        seen.add(leadership)
        release.wait(PATIENCE)

    elector.on_elected(stuck)
    leading(server, elector)
    (leadership,) = seen.wait(1)
    server.close()
    assert leadership.wait(PATIENCE)
    assert not elector.is_leader
    release.set()


def test_a_log_handler_that_raises_ends_no_thread_and_hides_no_callback(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    elected, demoted = threading.Event(), threading.Event()
    log, handler = logging.getLogger("elector_thread"), Broken(logging.DEBUG)
    log.addHandler(handler)
    try:
        server.leader = "pod-a"
        elector = make_elector()
        elector.on_elected(elected.set)
        elector.on_demoted(demoted.set)
        elector.start()
        assert elected.wait(PATIENCE)
        good, server.on_get = server.on_get, lambda connection: connection.shut()
        until(lambda: elector.status().counts.failures > 1)
        server.on_get = good
        server.wait_streams()
        server.elect("pod-b")
        assert demoted.wait(PATIENCE)
        assert elector.status().alive
    finally:
        log.removeHandler(handler)

"""The process-wide elector: registering needs nothing; the first question starts it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from elector_thread import (
    SKIPPED,
    ConfigurationError,
    Elector,
    ElectorError,
    LeaderChange,
    Leadership,
    configure,
    default,
    default_elector,
    on_demoted,
    on_elected,
    on_leader_change,
    only_on_leader,
    while_leader,
)
from elector_thread._runtime import access
from elector_thread._runtime.process import electors
from elector_thread.settings import Options
from elector_thread.testing import own_default_elector

from .processes import run_python
from .scripted import PATIENCE, ScriptedServer

FAST: Options = {"poll_interval": 0.1, "reconcile_interval": 0.1, "request_timeout": 0.5}


@pytest.fixture(autouse=True)
def own_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ELECTOR_GET_URL", "ELECTOR_SSE_URL", "ELECTOR_PATH"):
        monkeypatch.delenv(name, raising=False)
    with own_default_elector():
        yield


def use(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's environment."""
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")


@pytest.fixture
def calls() -> queue.Queue[str]:
    """What the callbacks of `register` were called for."""
    return queue.Queue()


def register(calls: queue.Queue[str]) -> None:
    @on_elected
    def elected(leadership: Leadership) -> None:
        calls.put(f"elected {leadership.number}")

    @on_demoted
    def demoted() -> None:
        calls.put("demoted")

    @on_leader_change
    def changed(change: LeaderChange) -> None:
        calls.put(f"{change.previous} -> {change.current}")

    @while_leader
    def work(leadership: Leadership) -> None:
        calls.put("works")
        leadership.wait(PATIENCE)


def taken(calls: queue.Queue[str], count: int) -> set[str]:
    return {calls.get(timeout=PATIENCE) for _ in range(count)}


EVERYTHING = {"elected 1", "works", "None -> pod-a"}


# --- registering -----------------------------------------------------------------------


def test_registering_starts_nothing_and_needs_no_environment(calls: queue.Queue[str]) -> None:
    before = threading.active_count()
    register(calls)
    assert threading.active_count() == before
    assert repr(default_elector()) == "<Elector, settings not read yet>"


def test_a_module_may_register_while_it_is_imported() -> None:
    code = "from elector_thread import *; on_elected(print); while_leader(print); print('done')"
    ended = run_python(code)
    assert (ended.out, ended.err) == ("done\n", "")


QUESTIONS: dict[str, Callable[[Elector], object]] = {
    "is_leader": lambda elector: elector.is_leader,
    "state": lambda elector: elector.state,
    "leader": lambda elector: elector.leader,
    "status": lambda elector: elector.status(),
    "wait_until_leader": lambda elector: elector.wait_until_leader(PATIENCE),
    "wait_until_known": lambda elector: elector.wait_until_known(PATIENCE),
    "guarded call": lambda _: only_on_leader(lambda: "ran")(),
    "start": lambda elector: elector.start(),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_the_first_question_starts_it(
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    calls: queue.Queue[str],
    question: Callable[[Elector], object],
) -> None:
    register(calls)
    server.leader = "pod-a"
    use(server, monkeypatch)
    question(default_elector())
    assert taken(calls, 3) == EVERYTHING


def test_asking_for_it_starts_nothing(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(server, monkeypatch)
    assert default_elector() is default_elector()
    assert default_elector().identity == "pod-a"
    assert server.connections == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_registrations_before_and_after_configure(
    server: ScriptedServer, calls: queue.Queue[str], when: str
) -> None:
    server.leader = "pod-a"
    if when == "before":
        register(calls)
    elector = configure(get_url=server.get_url, identity="pod-a", **FAST)
    if when == "after":
        register(calls)
    elector.start()
    assert taken(calls, 3) == EVERYTHING
    elector.stop()
    assert taken(calls, 1) == {"demoted"}


def test_the_first_answer_without_a_sidecar_is_the_assumed_one() -> None:
    configure(when_unconfigured="lead")
    assert default_elector().is_leader
    assert only_on_leader(lambda: "ran")() == "ran"


# --- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_bad_settings_appear_at_the_first_question_and_registrations_survive(
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    calls: queue.Queue[str],
    question: Callable[[Elector], object],
) -> None:
    register(calls)
    with pytest.raises(ConfigurationError, match="ELECTOR_GET_URL"):
        question(default_elector())
    server.leader = "pod-a"
    use(server, monkeypatch)
    default_elector().start()
    assert taken(calls, 3) == EVERYTHING


def test_a_bad_configure_changes_nothing(server: ScriptedServer) -> None:
    configure(get_url=server.get_url, identity="pod-a", **FAST)
    with pytest.raises(ConfigurationError, match="poll_interval"):
        configure(poll_interval=-1)
    assert default_elector().identity == "pod-a"


@pytest.mark.parametrize("use_it", [Elector.start, Elector.stop])
def test_configure_after_the_first_use_is_too_late(use_it: Callable[[Elector], object]) -> None:
    configure(when_unconfigured="follow")
    use_it(default_elector())
    with pytest.raises(ElectorError, match="too late"):
        configure(when_unconfigured="lead")


def test_one_that_was_stopped_before_its_first_question_stays_stopped() -> None:
    configure(when_unconfigured="lead")
    default_elector().stop()
    assert not default_elector().is_leader
    assert only_on_leader(lambda: "ran")() is SKIPPED
    assert default_elector().start().is_leader


def test_one_that_was_stopped_without_settings_is_nothing_to_report() -> None:
    default_elector().stop()
    assert default_elector() not in electors()


# --- settings that an adapter provides ---------------------------------------------------


def test_provided_settings_are_read_at_the_first_question(calls: queue.Queue[str]) -> None:
    provided: list[Options] = []
    default.current.provide(lambda: provided[0])
    register(calls)
    provided.append({"when_unconfigured": "lead", "identity": "pod-a"})
    assert default_elector().is_leader
    assert taken(calls, 3) == EVERYTHING


@pytest.mark.parametrize("first", ["configure", "provide"])
def test_configure_wins_over_provided_settings(first: str) -> None:
    steps = [
        lambda: configure(identity="configured", when_unconfigured="lead"),
        lambda: default.current.provide(lambda: {"identity": "provided"}),
    ]
    for step in steps if first == "configure" else reversed(steps):
        step()
    assert default_elector().identity == "configured"


# --- a process that only asks ------------------------------------------------------------


def test_it_answers_and_calls_nothing_until_it_is_started(calls: queue.Queue[str]) -> None:
    configure(when_unconfigured="lead", identity="pod-a")
    elector = default_elector()
    access.only_answer(elector)
    register(calls)
    announced = threading.Event()
    assert only_on_leader(lambda: "ran")() == "ran"
    elector.stop()
    assert calls.empty()
    elector.start()
    elector.on_leader_change(announced.set)
    assert announced.wait(PATIENCE)
    assert "elected 2" in taken(calls, 3)

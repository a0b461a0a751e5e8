"""``@only_on_leader``: who runs, what the others get, and the one wait at the start."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from elector_thread import (
    SKIPPED,
    Elector,
    ElectorError,
    NotLeaderError,
    configure,
    default_elector,
    only_on_leader,
)
from elector_thread._guarded import JOBS
from elector_thread._state.clock import now
from elector_thread._state.occurrences import Event, GuardedCall
from elector_thread.instrumentation import add_observer, remove_observer
from elector_thread.testing import FakeElector, own_default_elector

from .conftest import FAST, MakeElector
from .processes import run_python
from .scripted import PATIENCE, Connection, ScriptedServer, answer, result


@pytest.fixture
def leader(server: ScriptedServer, make_elector: MakeElector) -> Elector:
    server.leader = "pod-a"
    elector = make_elector()
    elector.refresh()
    return elector


@pytest.fixture
def follower(server: ScriptedServer, make_elector: MakeElector) -> Elector:
    server.leader = "pod-b"
    elector = make_elector()
    elector.refresh()
    return elector


def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


def test_the_leader_runs_it(leader: Elector) -> None:
    assert leader.only_on_leader(add)(1, b=2) == 3
    assert leader.only_on_leader(raises=True)(add)(1) == 2
    assert only_on_leader(elector=leader)(add)(1) == 2


def test_a_follower_skips_it(follower: Elector) -> None:
    ran: list[int] = []
    result = follower.only_on_leader(ran.append)(1)
    assert result is SKIPPED
    assert ran == []


def test_skipped_is_false_and_survives_pickling_and_copying() -> None:
    assert not SKIPPED
    assert repr(SKIPPED) == str(SKIPPED) == f"{SKIPPED}" == "SKIPPED"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(SKIPPED, protocol)) is SKIPPED
    assert copy.copy(SKIPPED) is SKIPPED
    assert copy.deepcopy([SKIPPED])[0] is SKIPPED


def test_otherwise_is_a_value_or_a_function_of_the_same_arguments(follower: Elector) -> None:
    assert follower.only_on_leader(otherwise=0)(add)(1) == 0
    assert follower.only_on_leader(otherwise=lambda a, b: a * b)(add)(3, b=4) == 12


def test_a_method_of_a_builtin_has_no_module(leader: Elector) -> None:
    assert leader.only_on_leader(str.upper)("done") == "DONE"


def test_none_is_a_value_like_any_other(follower: Elector) -> None:
    async def later() -> int:
        return 1

    assert follower.only_on_leader(otherwise=None)(add)(1) is None
    assert asyncio.run(follower.only_on_leader(otherwise=None)(later)()) is None


class AsyncJob:
    async def __call__(self, text: str = "ran") -> str:
        return text


@pytest.mark.parametrize(
    "job",
    [AsyncJob(), functools.partial(AsyncJob(), "ran"), functools.partial(AsyncJob().__call__)],
)
@pytest.mark.parametrize(("role", "result"), [("leader", "ran"), ("follower", SKIPPED)])
def test_what_is_async_within_an_object_can_be_awaited_everywhere(
    request: pytest.FixtureRequest, role: str, result: object, job: Any
) -> None:
    elector: Elector = request.getfixturevalue(role)

    async def run() -> object:
        return await elector.only_on_leader(job)()

    assert asyncio.run(run()) == result


def test_a_generator_within_an_object_is_refused_as_well(make_elector: MakeElector) -> None:
    class Job:
        def __call__(self) -> Iterator[None]:
            yield

    for job in (Job(), functools.partial(Job())):
        with pytest.raises(TypeError, match="generator"):
            make_elector().only_on_leader(job)


def test_raises_names_the_function(follower: Elector) -> None:
    with pytest.raises(NotLeaderError, match="add runs only on the leader") as caught:
        follower.only_on_leader(raises=True)(add)(1)
    assert isinstance(caught.value, ElectorError)


def test_raises_says_that_the_leader_is_not_known() -> None:
    guarded = FakeElector().only_on_leader(raises=True)(add)
    with pytest.raises(NotLeaderError, match="add runs only on the leader, and the leader is not"):
        guarded(1)


def test_it_looks_like_the_function(leader: Elector) -> None:
    guarded = leader.only_on_leader(add)
    assert guarded.__name__ == "add"
    assert guarded.__doc__ == "Adds."
    assert inspect.signature(guarded) == inspect.signature(add)


def test_methods_of_every_kind(leader: Elector, follower: Elector) -> None:
    for elector, expected in ((leader, "ran"), (follower, SKIPPED)):

        class Job:
            @elector.only_on_leader
            def method(self) -> str:
                assert isinstance(self, Job)
                return "ran"

            @classmethod
            @elector.only_on_leader
            def of_class(cls) -> str:
                assert cls is Job
                return "ran"

            @staticmethod
            @elector.only_on_leader
            def static() -> str:
                return "ran"

        assert Job().method() is expected or Job().method() == expected
        assert Job.of_class() == expected
        assert Job.static() == expected


def test_async_functions(leader: Elector, follower: Elector) -> None:
    async def job(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async def instead(value: int) -> int:
        return -value

    assert inspect.iscoroutinefunction(leader.only_on_leader(job))
    assert asyncio.run(leader.only_on_leader(job)(7)) == 7
    assert asyncio.run(follower.only_on_leader(job)(7)) is SKIPPED
    assert asyncio.run(follower.only_on_leader(otherwise=instead)(job)(7)) == -7
    with pytest.raises(NotLeaderError):
        asyncio.run(follower.only_on_leader(raises=True)(job)(7))


def generator() -> Any:
    yield


async def async_generator() -> Any:
    yield


@pytest.mark.parametrize(
    ("thing", "hint"),
    [
        (generator, "generator"),
        (async_generator, "generator"),
        (int, "expected a function"),
        (7, "expected a function"),
        (staticmethod(add), "below @staticmethod"),
        (classmethod(add), "below @classmethod"),
    ],
)
def test_what_cannot_be_guarded_is_told_at_decoration(
    leader: Elector, thing: Any, hint: str
) -> None:
    with pytest.raises(TypeError, match=hint):
        leader.only_on_leader(thing)


def test_either_otherwise_or_raises(leader: Elector) -> None:
    with pytest.raises(TypeError, match="either otherwise or raises=True, got both"):
        leader.only_on_leader(otherwise=1, raises=True)  # type: ignore[call-overload]


class HasGuard:
    """As the adapters' own electors."""

    only_on_leader = only_on_leader


@pytest.mark.parametrize(
    ("thing", "hint"),
    [
        ("pod-a", "expected an Elector, got 'pod-a'$"),
        (Elector, "expected an Elector, got <class"),
        (default_elector, "expected an Elector, got <function"),
        (HasGuard(), "expected an Elector, got .*: use its own .only_on_leader"),
    ],
)
def test_what_is_no_elector_is_told_at_decoration(thing: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=hint):
        only_on_leader(elector=thing)


def test_every_kind_of_elector_may_be_asked() -> None:
    class Own(Elector):
        pass

    only_on_leader(elector=Own(when_unconfigured="follow"))(add)
    assert only_on_leader(elector=FakeElector(leading=True))(add)(1) == 2


# --- the first word --------------------------------------------------------------------------


def test_a_script_that_has_just_started_waits_for_the_first_word(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector()  # not even started
    assert elector.only_on_leader(add)(1) == 2
    assert elector.status().running


def test_the_wait_ends_with_the_word(server: ScriptedServer, make_elector: MakeElector) -> None:
    elector = make_elector().start()
    server.wait_streams()
    results: list[Any] = []
    guarded = elector.only_on_leader(wait=PATIENCE)(add)
    thread = threading.Thread(target=lambda: results.append(guarded(1)))
    thread.start()
    server.elect("pod-a")
    thread.join(PATIENCE)
    assert results == [2]


def test_it_waits_no_longer_than_that_after_the_start(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    began = now()
    elector = make_elector().start()
    guarded = elector.only_on_leader(wait=0.2)(add)
    assert guarded(1) is SKIPPED
    assert now() - began >= 0.2
    began = now()
    for _ in range(100):
        assert guarded(1) is SKIPPED
    assert now() - began < PATIENCE, "a hundred waits would take 20 s"


def test_a_call_that_does_not_wait_leaves_the_wait_to_others(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    release = threading.Event()

    def slow(connection: Connection) -> None:
        release.wait(PATIENCE)
        connection.send(answer(result("pod-a")))

    server.on_get = slow
    server.on_stream = Connection.wait_gone
    elector = make_elector(request_timeout=PATIENCE).start()
    assert elector.only_on_leader(wait=0)(add)(1) is SKIPPED
    threading.Timer(0.2, release.set).start()
    assert elector.only_on_leader(wait=PATIENCE)(add)(1) is not SKIPPED


def test_the_async_wait_does_not_block_the_loop(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    elector = make_elector().start()
    server.wait_streams()

    async def job() -> str:
        return "ran"

    async def main() -> Any:
        waiting = asyncio.ensure_future(elector.only_on_leader(wait=PATIENCE)(job)())
        await asyncio.sleep(0.01)  # the loop is free
        server.elect("pod-a")
        return await waiting

    assert asyncio.run(main()) == "ran"


def test_nobody_waits_for_a_stopped_elector(make_elector: MakeElector) -> None:
    elector = make_elector().start()
    elector.stop()
    began = now()
    assert elector.only_on_leader(wait=3 * PATIENCE)(add)(1) is SKIPPED
    assert now() - began < PATIENCE
    assert not elector.status().running


def test_lost_contact_is_not_waited_for(server: ScriptedServer, make_elector: MakeElector) -> None:
    server.leader = "pod-a"
    elector = make_elector(grace_period=0.8, request_timeout=0.3).start()
    assert elector.wait_until_leader(PATIENCE)
    ended = threading.Event()
    elector.on_demoted(ended.set)
    server.close()
    assert ended.wait(PATIENCE)
    began = now()
    assert elector.only_on_leader(wait=3 * PATIENCE)(add)(1) is SKIPPED
    assert now() - began < PATIENCE


# --- the process-wide elector ----------------------------------------------------------------


@pytest.fixture
def fresh_default() -> Iterator[None]:
    with own_default_elector():
        yield


@pytest.mark.usefixtures("fresh_default")
def test_the_default_elector_comes_from_the_environment_at_the_first_call(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = only_on_leader(add)
    server.leader = "pod-a"
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
    assert server.connections == 0
    assert guarded(1) == 2
    assert default_elector() is default_elector()
    assert default_elector().status().running


@pytest.mark.usefixtures("fresh_default")
def test_configure_comes_first_or_not_at_all(server: ScriptedServer) -> None:
    configure(get_url="http://127.0.0.1:1/")
    configure(get_url=server.get_url, identity="pod-x", **FAST)
    assert default_elector().identity == "pod-x"
    assert server.connections == 0
    default_elector().start()
    with pytest.raises(ElectorError, match="too late"):
        configure()


@pytest.mark.usefixtures("fresh_default")
def test_the_default_elector_is_made_once(server: ScriptedServer) -> None:
    configure(get_url=server.get_url, **FAST)
    barrier, found = threading.Barrier(8), []

    def find() -> None:
        barrier.wait()
        found.append(default_elector())

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


# --- while nothing is known --------------------------------------------------------------


def repeatable(fake: FakeElector, **options: Any) -> Callable[[], object]:
    return fake.only_on_leader(when_unknown="run", **options)(lambda: "ran")


def test_a_job_that_is_safe_to_repeat_runs_while_nothing_is_known() -> None:
    assert repeatable(FakeElector())() == "ran"


def test_it_runs_after_the_grace_period_as_well() -> None:
    fake = FakeElector(leading=False)
    fake.lose_contact()
    assert repeatable(fake)() == "ran"


@pytest.mark.parametrize("options", [{}, {"raises": True}], ids=["skips", "raises"])
def test_it_never_runs_on_a_known_follower(options: dict[str, Any]) -> None:
    guarded = repeatable(FakeElector(leading=False), **options)
    if options:
        with pytest.raises(NotLeaderError):
            guarded()
    else:
        assert guarded() is SKIPPED


def test_an_async_job_that_is_safe_to_repeat() -> None:
    fake = FakeElector()

    @fake.only_on_leader(when_unknown="run")
    async def job() -> str:
        return "ran"

    assert asyncio.run(job()) == "ran"
    fake.demote()
    assert asyncio.run(job()) is SKIPPED


@pytest.mark.parametrize("wrong", ["always", None, True])
def test_a_wrong_when_unknown_names_the_choices(wrong: Any) -> None:
    with pytest.raises(TypeError, match="when_unknown: expected 'skip' or 'run', got"):
        only_on_leader(when_unknown=wrong)


@pytest.mark.parametrize("wrong", [-1, None, True, "5", math.inf, math.nan])
def test_a_wrong_wait_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="wait: expected a number of seconds, 0 or more, got"):
        only_on_leader(wait=wrong)


@pytest.mark.parametrize("wrong", [0, -1, True, "60", math.inf, math.nan])
def test_a_wrong_interval_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="interval: expected a positive number of seconds, got"):
        only_on_leader(interval=wrong)


SCRIPT = """
import logging, sys
from elector_thread import configure, only_on_leader
logging.basicConfig(format="%(levelname)s %(message)s")
configure(get_url="http://127.0.0.1:9/", identity="pod-a", request_timeout=0.2)

@only_on_leader(wait=0.1, raises=sys.argv[1] == "raises")
def send_report():
    print("sent")

print(send_report(), send_report())
"""


def test_a_script_that_never_hears_of_a_leader_names_the_function_it_skipped() -> None:
    ended = run_python(SCRIPT, "skips")
    assert (ended.exit_code, ended.out) == (0, "SKIPPED SKIPPED\n")
    skipped = [line for line in ended.err.splitlines() if "was skipped" in line]
    assert skipped == [
        "WARNING __main__.send_report was skipped: the leader is not known "
        "(elector at http://127.0.0.1:9/)"
    ]


def test_a_script_that_raises_has_an_exit_code() -> None:
    ended = run_python(SCRIPT, "raises")
    assert (ended.exit_code, ended.out) == (1, "")
    assert "NotLeaderError" in ended.err


# --- what observers are told ---------------------------------------------------------------


def test_every_outcome_is_an_event() -> None:
    fake = FakeElector()

    @fake.only_on_leader(interval=60)
    def job(fails: bool = False) -> None:
        if fails:
            raise ValueError("broken")

    seen: list[GuardedCall] = []

    def observe(event: Event) -> None:
        if isinstance(event, GuardedCall):
            seen.append(event)

    add_observer(observe)
    try:
        job()
        fake.demote()
        job()
        fake.elect()
        job()
        with pytest.raises(ValueError, match="broken"):
            job(fails=True)
    finally:
        remove_observer(observe)
    assert [call.outcome for call in seen] == ["unknown", "skipped", "run", "error"]
    [name] = {call.function for call in seen}
    assert name == "tests.test_guard.test_every_outcome_is_an_event.<locals>.job"
    assert JOBS[name] == 60

"""A forked child: unknown at first, alive at first use, and no harm to its parent."""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from elector_thread import (
    Elector,
    LeaderChange,
    Leadership,
    State,
    configure,
    default,
    default_elector,
)
from elector_thread._runtime import process
from elector_thread._runtime.run import Run
from elector_thread._state.clock import now
from tests.conftest import MakeElector
from tests.polling import until
from tests.scripted import Connection, ScriptedServer, answer, result

from . import c_forks
from .children import (
    PATIENCE,
    Child,
    Held,
    client_inodes,
    fork_quietly,
    in_child,
    locks_of,
    own_socket_inodes,
    reap,
)

LOCKS = {
    "Health._lock",
    "TaskRunner._lock",
    "Log._lock",
    "Runtime._lock",
    "Store._lock",
    "_IdleConnections.mutex",
    "podlock._lock",
    "podwork._lock",
}
"""Every lock of the library. A fork is tried while each of them is held."""


@pytest.fixture
def leader(make_elector: MakeElector, server: ScriptedServer) -> Elector:
    """A running elector that leads, with its stream open."""
    server.leader = "pod-a"
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_streams()
    return elector


@pytest.fixture
def busy(make_elector: MakeElector, server: ScriptedServer, tmp_path: Path) -> Elector:
    """The same with everything that has a lock: the pod's lock and a leader task as well."""
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=tmp_path / "pod.lock")
    elector.while_leader(lambda leadership: leadership.wait())
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_streams()
    return elector


def assert_still_served(elector: Elector, server: ScriptedServer) -> None:
    """The one stream of the parent is open and brings it news."""
    server.wait_for(lambda: len(server.streams) == 1)
    before = elector.status().counts.events
    server.elect("pod-z")  # for GET as well: one asked meanwhile outdates the event
    until(lambda: elector.status().counts.events > before)
    until(lambda: not elector.is_leader)


@pytest.mark.parametrize("read", ["state", "leader", "status"])
def test_the_first_look_in_the_child_is_unknown_however_quick_the_elector_answers(
    leader: Elector, read: str
) -> None:
    start = Run.start

    def start_and_know(run: Run) -> None:
        start(run)
        until(lambda: run._store.snapshot.lead_until > now())

    def look() -> tuple[bool, bool]:
        Run.start = start_and_know  # type: ignore[method-assign]  # in the child alone
        first = getattr(leader, read)
        if read == "status":
            first = first().state
        return first in (State.UNKNOWN, None), leader.is_leader

    assert in_child(look) == (True, True)


class TestTheChild:
    def test_is_unknown_at_first_and_alive_at_its_first_use(
        self, leader: Elector, server: ScriptedServer
    ) -> None:
        def look() -> tuple[bool, bool, int | None]:
            first = leader.is_leader
            return first, leader.wait_until_leader(PATIENCE), leader.status().leadership

        assert in_child(look) == (False, True, 1)
        assert leader.is_leader
        assert_still_served(leader, server)

    def test_opens_nothing_if_it_never_asks(self, leader: Elector, server: ScriptedServer) -> None:
        before = server.stream_requests
        child = Child(lambda: threading.active_count())
        assert child.result() == 1
        assert server.stream_requests == before

    def test_holds_no_socket_of_its_parent(self, leader: Elector, server: ScriptedServer) -> None:
        ours = client_inodes(server.port) & own_socket_inodes()
        assert len(ours) == 2  # the stream, and the kept-alive connection
        assert not in_child(own_socket_inodes) & ours

    def test_has_one_stream_of_its_own(self, leader: Elector, server: ScriptedServer) -> None:
        go_on, done = os.pipe()

        def stay() -> bool:
            alive = leader.wait_until_leader(PATIENCE)
            os.read(go_on, 1)
            return alive

        child = Child(stay)
        server.wait_for(lambda: len(server.streams) == 2)
        os.write(done, b".")
        assert child.result()
        assert_still_served(leader, server)
        os.close(go_on)
        os.close(done)

    def test_runs_the_callbacks_that_were_registered_before(
        self, make_elector: MakeElector, server: ScriptedServer
    ) -> None:
        elected = threading.Event()
        server.leader = "pod-a"
        elector = make_elector()
        elector.on_elected(elected.set)
        elector.start()
        assert elected.wait(PATIENCE)

        def run() -> bool:
            elected.clear()
            elector.post_fork()
            return elected.wait(PATIENCE)

        assert in_child(run)

    def test_calls_nothing_for_its_parents_leadership(
        self, make_elector: MakeElector, server: ScriptedServer
    ) -> None:
        demoted: list[Leadership] = []
        elected = threading.Event()
        server.leader = "pod-a"
        elector = make_elector()
        elector.on_elected(lambda leadership: tokens.append(leadership) or elected.set())
        elector.on_demoted(demoted.append)
        tokens: list[Leadership] = []
        elector.start()
        assert elected.wait(PATIENCE)

        def run() -> tuple[bool, bool, int]:
            token = tokens[0]
            over = token.ended, token.wait(0)
            elector.stop()
            return (*over, len(demoted))

        assert in_child(run) == (True, True, 0)
        assert not tokens[0].ended

    @pytest.mark.parametrize(
        "end",
        [
            lambda elector: elector.stop(),
            lambda elector: process.step_down(1),  # as the interpreter's exit does
            lambda elector: os.kill(os.getpid(), signal.SIGKILL),
        ],
        ids=["stops", "exits", "is killed"],
    )
    def test_cannot_harm_its_parents_stream(
        self, leader: Elector, server: ScriptedServer, end: Callable[[Elector], object]
    ) -> None:
        first = server.streams[0]

        def live_and_end() -> bool:
            leader.wait_until_leader(PATIENCE)
            end(leader)
            return True

        child = Child(live_and_end)
        try:
            child.result()
        except AssertionError as killed:
            assert "ended with -9" in str(killed)  # noqa: PT017 - one of the three cases
        assert_still_served(leader, server)
        assert server.streams == [first]

    def test_of_a_child_is_no_different(self, leader: Elector, server: ScriptedServer) -> None:
        def nest() -> bool:
            alive = leader.wait_until_leader(PATIENCE)
            return alive and in_child(lambda: leader.wait_until_leader(PATIENCE))

        assert in_child(nest)
        assert_still_served(leader, server)

    def test_that_becomes_a_daemon_by_a_double_fork_lives(
        self, leader: Elector, server: ScriptedServer
    ) -> None:
        def daemonise() -> bool:
            os.setsid()
            return in_child(lambda: leader.wait_until_leader(PATIENCE))

        assert in_child(daemonise)

    def test_of_a_stopped_elector_is_stopped(self, leader: Elector, server: ScriptedServer) -> None:
        leader.stop()
        before = server.connections

        def look() -> tuple[bool, State, bool, object]:
            guarded = leader.only_on_leader(lambda: "ran")
            return leader.is_leader, leader.state, leader.status().running, bool(guarded())

        assert in_child(look) == (False, State.UNKNOWN, False, False)
        assert server.connections == before

    def test_uses_its_own_default_elector(
        self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.leader = "pod-a"
        monkeypatch.setattr(default, "current", default.Default())
        configure(get_url=server.get_url, sse_url=server.sse_url, identity="pod-a")
        try:
            assert default_elector().wait_until_leader(PATIENCE)
            assert in_child(lambda: default_elector().wait_until_leader(PATIENCE))
        finally:
            default_elector().stop()


class TestForksAtABadMoment:
    def test_every_lock_is_known(self, busy: Elector) -> None:
        assert set(locks_of(busy)) == LOCKS

    @pytest.mark.parametrize("name", sorted(LOCKS))
    def test_while_a_lock_is_held(self, busy: Elector, server: ScriptedServer, name: str) -> None:
        """Everything works in the child, which no held lock delays, and in the parent."""

        def use() -> dict[str, object]:
            changes: queue.SimpleQueue[LeaderChange] = queue.SimpleQueue()
            seen: dict[str, object] = {"led at first": busy.is_leader}
            busy.on_leader_change(changes.put)
            seen["known"] = busy.wait_until_known(PATIENCE)
            seen["callback"] = changes.get(timeout=PATIENCE)
            seen["refreshed"] = busy.refresh().leader
            seen["state"] = busy.state
            seen["removed"] = busy.remove(changes.put)
            seen["stopped"] = busy.stop(None)
            gc.collect()
            return seen

        with ExitStack() as stack:
            for lock in locks_of(busy)[name]:
                stack.enter_context(Held(lock))
            seen = in_child(use)
        assert seen == {
            "led at first": False,
            "known": True,
            "callback": LeaderChange(None, "pod-a"),
            "refreshed": "pod-a",
            "state": State.FOLLOWER,  # the parent holds the pod's lock
            "removed": True,
            "stopped": True,
        }
        assert busy.is_leader
        assert_still_served(busy, server)

    def test_while_a_connection_is_idle(
        self, make_elector: MakeElector, server: ScriptedServer
    ) -> None:
        """The parent's client is garbage in the child, and closes the connections that it keeps."""
        server.leader = "pod-a"
        elector = make_elector()
        elector.refresh()

        def collect() -> bool:
            gc.collect()
            return elector.is_leader

        assert in_child(collect) is False
        assert elector.is_leader

    def test_while_threads_log(self, leader: Elector, caplog: pytest.LogCaptureFixture) -> None:
        stopping = threading.Event()
        log = logging.getLogger("elector_thread")

        def chatter() -> None:
            while not stopping.is_set():
                log.warning("busy")

        threads = [threading.Thread(target=chatter) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(50):
                assert in_child(lambda: leader.is_leader) is False
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        assert leader.is_leader

    def test_during_start(
        self,
        make_elector: MakeElector,
        server: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        server.leader = "pod-a"
        inside, go_on = threading.Event(), threading.Event()
        elector = make_elector()
        start = Run.start

        def slowly(run: Run) -> None:
            inside.set()
            go_on.wait(PATIENCE)
            start(run)

        monkeypatch.setattr(Run, "start", slowly)
        starter = threading.Thread(target=elector.start)
        starter.start()
        assert inside.wait(PATIENCE)

        def come_alive() -> bool:
            go_on.set()  # in the child alone
            return elector.wait_until_leader(PATIENCE)

        assert in_child(come_alive)
        go_on.set()
        starter.join()
        assert elector.wait_until_leader(PATIENCE)

    def test_during_refresh(self, make_elector: MakeElector, server: ScriptedServer) -> None:
        asked, go_on = threading.Event(), threading.Event()

        def slow(connection: Connection) -> None:
            if not asked.is_set():
                asked.set()
                go_on.wait(PATIENCE)
            connection.send(answer(result("pod-a")))

        server.on_get = slow
        elector = make_elector(request_timeout=PATIENCE, grace_period=60)
        asker = threading.Thread(target=elector.refresh)
        asker.start()
        assert asked.wait(PATIENCE)
        assert in_child(lambda: elector.refresh().is_leader)
        go_on.set()
        asker.join()
        assert elector.is_leader

    @pytest.mark.parametrize("raises", [False, True], ids=["returns", "exits"])
    def test_from_within_a_callback(
        self, make_elector: MakeElector, server: ScriptedServer, raises: bool
    ) -> None:
        """The child returns from the callback: no other one is called there, and it ends."""
        announced, demoted = threading.Event(), threading.Event()
        reader, writer = os.pipe()
        pids: list[int] = []
        server.leader = "pod-a"
        elector = make_elector()

        def fork() -> None:
            pid = fork_quietly()
            if pid == 0:
                os.close(writer)
                if raises:
                    raise SystemExit
                return
            pids.append(pid)

        elector.on_elected(fork)
        elector.on_elected(lambda: (os.write(writer, b"e"), announced.set()))
        elector.on_demoted(lambda: (os.write(writer, b"d"), demoted.set()))
        elector.start()
        assert announced.wait(PATIENCE)
        server.elect("pod-b")
        assert demoted.wait(PATIENCE)
        assert reap(pids[0]) == 0
        os.close(writer)
        assert os.read(reader, 10) == b"ed"  # by the parent alone
        os.close(reader)
        assert elector.status().counts.callback_errors == 0

    def test_from_a_thread(self, leader: Elector, server: ScriptedServer) -> None:
        outcome: list[bool] = []

        def fork() -> None:
            outcome.append(in_child(lambda: leader.wait_until_leader(PATIENCE)))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(PATIENCE)
        assert outcome == [True]
        assert_still_served(leader, server)

    def test_from_within_while_leader(
        self, make_elector: MakeElector, server: ScriptedServer
    ) -> None:
        outcome: list[object] = []
        done = threading.Event()
        server.leader = "pod-a"
        elector = make_elector()

        @elector.while_leader
        def work(leadership: Leadership) -> None:
            known = in_child(
                lambda: (leadership.ended, elector.wait_until_leader(PATIENCE)),
            )
            outcome.append(known)
            done.set()

        elector.start()
        assert done.wait(PATIENCE)
        assert outcome == [(True, True)]


class TestForksWithoutPythonsHooks:
    """A server in C runs none of Python's fork hooks: the child is known by its process id.

    In a process of its own, since such a fork is only safe where no other thread runs.
    """

    @pytest.fixture(scope="class")
    @staticmethod
    def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
        with ScriptedServer("pod-a") as server:
            urls = [
                server.get_url,
                server.sse_url,
                str(tmp_path_factory.mktemp("pod") / "pod.lock"),
            ]
            script = [sys.executable, "-m", "tests.forks.c_forks", *urls]
            ended = subprocess.run(script, capture_output=True, text=True, timeout=50)
            assert (ended.returncode, ended.stderr) == (0, "")
            yield json.loads(ended.stdout)

    @pytest.mark.parametrize("use", c_forks.USES)
    def test_any_use_but_a_bare_read_notices(self, seen: dict[str, Any], use: str) -> None:
        assert seen["parent leads"] is True
        assert seen[use] is False

    def test_a_process_that_holds_back_starts_nothing(self, seen: dict[str, Any]) -> None:
        assert seen["held back"] == {"is_leader": False, "threads": 1, "waits": False}

    def test_its_child_comes_alive_at_the_first_read(self, seen: dict[str, Any]) -> None:
        assert seen["comes alive"] is True

    def test_two_electors_of_a_child_share_its_lock(self, seen: dict[str, Any]) -> None:
        assert seen["two with a lock"] == [True, True]

    def test_threads_that_come_at_once_start_it_once(self, seen: dict[str, Any]) -> None:
        assert seen["dispatch threads after a rush"] == 1

"""Starting and stopping: prompt, repeatable, in order, and never in the way."""

from __future__ import annotations

import contextlib
import copy
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from elector_thread import Elector, ElectorUnavailableError, Leadership, State
from elector_thread._dispatch.dispatcher import Dispatcher
from elector_thread._state.clock import now
from elector_thread._state.occurrences import Event
from elector_thread._state.store import Store

from .conftest import MakeElector
from .polling import until
from .scripted import CHUNKED_SSE_HEAD, PATIENCE, Connection, ScriptedServer, answer, result

LONG_EXCHANGE = {"request_timeout": 40.0, "grace_period": 60.0}
"""What waits for an exchange to time out takes far longer than any test waits."""


def stop_at_once(elector: Elector) -> None:
    """Stop, and fail if the stop or the end of a thread waits for input or output."""
    workers, began = elector._runtime.workers, now()
    assert elector.stop(timeout=None)
    assert now() - began < PATIENCE
    until(lambda: not any(worker.thread.is_alive() for worker in workers), "the threads to end")


def test_start_does_not_fail_without_an_elector() -> None:
    with Elector(get_url="http://127.0.0.1:1/", sse_url="http://127.0.0.1:1/sse") as elector:
        assert elector.state is State.UNKNOWN


def test_start_does_not_wait_for_an_answer(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.on_get = server.on_stream = Connection.wait_gone
    began = now()
    make_elector(**LONG_EXCHANGE).start()
    assert now() - began < PATIENCE


def test_stop_demotes_first_and_wakes_a_blocked_read_at_once(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(poll_interval=10, reconcile_interval=10).start()
    server.wait_streams()
    assert elector.wait_until_leader(PATIENCE)
    stop_at_once(elector)
    assert elector.state is State.UNKNOWN
    server.wait_for(lambda: not server.streams)


@pytest.mark.parametrize("phase", ["headers", "body", "back-off"])
def test_stop_is_prompt_in_every_phase_of_the_stream(
    server: ScriptedServer, make_elector: MakeElector, phase: str
) -> None:
    reached = threading.Event()

    def handler(connection: Connection) -> None:
        if phase == "body":
            connection.send(CHUNKED_SSE_HEAD)
        reached.set()
        if phase == "back-off":
            connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            connection.wait_gone()

    server.on_stream = handler
    elector = make_elector(**LONG_EXCHANGE).start()
    assert reached.wait(PATIENCE)
    stop_at_once(elector)


def functions_of(thread: str) -> list[str]:
    """What a thread is in at the moment, outermost last; nothing if there is no such thread."""
    frames = sys._current_frames()
    inner = [frames.get(one.ident) for one in threading.enumerate() if one.name == thread]
    return [frame.f_code.co_name for one in inner if one for frame, _ in traceback.walk_stack(one)]


def test_stop_is_prompt_while_get_hangs(server: ScriptedServer, make_elector: MakeElector) -> None:
    asked = threading.Event()
    server.on_get = lambda connection: (asked.set(), connection.wait_gone())
    elector = make_elector(**LONG_EXCHANGE).start()
    assert asked.wait(PATIENCE)
    stop_at_once(elector)
    assert elector.status().counts.failures == 0


def test_stop_by_a_signal_handler_is_prompt_while_the_main_thread_refreshes(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """The refresh cannot go on before the handler returns, and poll waits behind it."""
    asked = threading.Event()
    server.on_get = lambda connection: (asked.set(), connection.wait_gone())
    elector = make_elector(**LONG_EXCHANGE)
    began: list[float] = []
    stopped: list[bool] = []

    def stop(*_: object) -> None:
        if not began:
            began.append(now())
            stopped.append(elector.stop(timeout=None))

    def interrupt() -> None:
        asked.wait(PATIENCE)
        elector.start()
        until(lambda: "elector-poll" in own_threads())
        main = threading.main_thread().ident
        # repeatedly: a signal that comes just before a system call does not interrupt it
        until(lambda: began or signal.pthread_kill(main, signal.SIGUSR1), "the signal to arrive")

    before = signal.signal(signal.SIGUSR1, stop)
    interrupting = threading.Thread(target=interrupt)
    try:
        interrupting.start()
        with pytest.raises(ElectorUnavailableError, match="stopped meanwhile"):
            elector.refresh()
        interrupting.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert stopped == [True]
    assert now() - began[0] < PATIENCE


class Interrupted(BaseException):
    """What a signal handler raises: Ctrl-C, a time limit."""


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("elector-")]


@pytest.mark.parametrize("timeout", [3 * PATIENCE, None])
def test_a_stop_by_a_signal_handler_within_a_stop_does_not_wait_for_what_that_one_holds(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    timeout: float | None,
) -> None:
    """The dispatch thread needs the lock in order to end; its holder goes on only afterwards."""
    server.leader = "pod-a"
    elector = make_elector()
    demoted, announced = threading.Event(), threading.Event()
    elector.on_demoted(demoted.set)
    elector.on_elected(announced.set)
    elector.start()
    assert announced.wait(PATIENCE)
    wake = Store.wake
    interrupts = [threading.current_thread()]
    took: list[float] = []

    def handle(*_: object) -> None:
        began = now()
        elector.stop(timeout)
        took.append(now() - began)

    def interrupted(store: Store) -> None:
        if threading.current_thread() in interrupts:
            interrupts.clear()
            signal.raise_signal(signal.SIGUSR1)  # the lock is held here
        wake(store)

    monkeypatch.setattr(Store, "wake", interrupted)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        assert elector.stop()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert took[0] < PATIENCE
    assert demoted.is_set()
    until(lambda: own_threads() == [])


NO_MORE_THREADS = RuntimeError("can't start new thread")


@pytest.mark.parametrize("error", [Interrupted("by a handler"), NO_MORE_THREADS], ids=repr)
@pytest.mark.parametrize("name", ["elector-dispatch", "elector-poll", "elector-stream"])
def test_a_start_that_is_cut_short_leaves_nothing_behind(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: BaseException,
) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    cut_short = [error]
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == name and cut_short:
            raise cut_short.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(type(error), match=str(error)):
        elector.start()
    assert not elector.status().running
    until(lambda: own_threads() == [])
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    assert sorted(own_threads()) == ["elector-dispatch", "elector-poll", "elector-stream"]
    assert elector.stop()


@pytest.mark.parametrize("name", ["elector-dispatch", "elector-poll", "elector-stream"])
def test_a_stop_within_a_start_wins(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As a signal handler's may: it is the later word."""
    server.leader = "pod-a"
    elector = make_elector()
    stopped: list[bool] = []
    start = threading.Thread.start

    def handled(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == name and not stopped:
            stopped.append(elector.stop())

    monkeypatch.setattr(threading.Thread, "start", handled)
    elector.start()
    assert stopped == [True]
    assert not elector.status().running
    until(lambda: own_threads() == [])
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    assert elector.stop()


def test_a_stop_at_the_very_begin_of_a_start_wins(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no thread yet that the handler could end."""
    elector = make_elector()
    stopped: list[bool] = []

    def handled(*args: Any, **kwargs: Any) -> Dispatcher:
        if not stopped:
            stopped.append(elector.stop())
        return Dispatcher(*args, **kwargs)

    monkeypatch.setattr("elector_thread._runtime.run.Dispatcher", handled)
    elector.start()
    assert not elector.status().running
    until(lambda: own_threads() == [])
    server.leader = "pod-a"
    elector.start()
    assert elector.wait_until_leader(PATIENCE)


def test_an_answer_that_was_asked_for_before_the_stop_makes_no_leader_after_it(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its GET is answered between the closing of the store and the end of the connections."""
    server.leader = "pod-a"
    elector = make_elector(sse_url=None, get_url=server.get_url, poll_interval=0.02)
    asked, release = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        asked.set()
        release.wait(PATIENCE)
        connection.send(answer(result("pod-a")))

    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    server.on_get = hold
    assert asked.wait(PATIENCE)
    close = Store.close

    def slowly(store: Store) -> list[Event]:
        happened = close(store)
        release.set()
        until(lambda: "elector-poll" not in own_threads(), "the answer to be read")
        return happened

    with monkeypatch.context() as patched:
        patched.setattr(Store, "close", slowly)
        assert elector.stop()
    assert elector.state is State.UNKNOWN


def test_an_end_that_comes_while_the_dispatch_thread_looks_is_told(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has found nothing to tell, then comes the stop, and then it asks whether to go on."""
    server.leader = "pod-a"
    elector = make_elector()
    told: list[str] = []
    led = threading.Event()
    elector.on_elected(lambda: (told.append("elected"), led.set()))
    elector.on_demoted(lambda: told.append("demoted"))
    look = Store.next_change
    stopping: list[threading.Thread] = []

    def look_and_stop(store: Store) -> object:
        found = look(store)
        if led.is_set() and not stopping:
            stopping.append(threading.Thread(target=elector.stop))
            stopping[0].start()
            until(lambda: not elector.status().running)
        return found

    monkeypatch.setattr(Store, "next_change", look_and_stop)
    elector.start()
    assert led.wait(PATIENCE)
    until(lambda: own_threads() == [])
    assert told == ["elected", "demoted"]


def test_a_wait_for_anything_known_ends_while_a_callback_hinders_the_news_of_its_loss(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """The grace has run out, and nobody could be told; then there is contact again."""
    server.leader = "pod-b"
    elector = make_elector(
        get_url=server.get_url, sse_url=None, grace_period=1.5, request_timeout=1.0
    )
    entered, release = threading.Event(), threading.Event()
    elector.on_leader_change(lambda: (entered.set(), release.wait(4 * PATIENCE)))
    elector.start()
    assert entered.wait(PATIENCE)
    usual, server.on_get = server.on_get, lambda c: c.send(answer(b"", b"HTTP/1.1 503 No\r\n"))
    until(lambda: elector.state is State.UNKNOWN)
    known: list[bool] = []
    waiting = threading.Thread(target=lambda: known.append(elector.wait_until_known(4 * PATIENCE)))
    waiting.start()
    until(lambda: "wait_for" in functions_of(waiting.name))
    server.on_get = usual
    until(lambda: elector.state is State.FOLLOWER)
    waiting.join(PATIENCE)
    told = list(known)
    release.set()
    assert told == [True]


def test_an_elector_can_be_neither_copied_nor_pickled(make_elector: MakeElector) -> None:
    elector = make_elector()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            attempt(elector)


def test_stop_while_connecting_is_prompt_and_nothing_to_report(
    make_elector: MakeElector, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as listener, contextlib.ExitStack() as queue:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):  # more than the backlog holds: whoever comes now hears nothing
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        url = f"http://127.0.0.1:{address[1]}/"
        elector = make_elector(get_url=url, sse_url=url, **LONG_EXCHANGE)
        before = _connecting_to(address[1])
        elector.start()
        until(lambda: _connecting_to(address[1]) >= before + 2)
        stop_at_once(elector)
    assert caplog.text == ""


def _connecting_to(port: int) -> int:
    """How many connections to ``port`` wait for an answer (state 02, SYN_SENT)."""
    return Path("/proc/net/tcp").read_text().count(f":{port:04X} 02 ")


def test_a_name_that_is_looked_up_for_ever_does_not_delay_stop(
    make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, release = threading.Semaphore(0), threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        looking.release()
        release.wait(3 * PATIENCE)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    urls = {"get_url": "http://slow.invalid/", "sse_url": "http://slow.invalid/sse"}
    elector = make_elector(**urls).start()
    for _ in range(2):
        assert looking.acquire(timeout=PATIENCE)
    began = now()
    assert elector.stop(timeout=None)
    assert now() - began < PATIENCE, "far less than the look-up takes"
    release.set()
    until(lambda: own_threads() == [])


def test_stop_is_idempotent_and_harmless_before_start(make_elector: MakeElector) -> None:
    elector = make_elector()
    assert elector.stop()
    assert elector.stop()
    elector.start()
    assert elector.stop()
    assert elector.stop()


def test_stop_says_no_when_a_callback_would_not_end_and_yes_once_it_has(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    entered, release = threading.Event(), threading.Event()

    def stuck() -> None:
        entered.set()
        release.wait(PATIENCE)

    elector.on_elected(stuck)
    elector.start()
    assert entered.wait(PATIENCE)
    assert not elector.stop(timeout=0.05)
    assert not elector.is_leader
    release.set()
    assert elector.stop(timeout=None)


def test_restarted_it_begins_anew(server: ScriptedServer, make_elector: MakeElector) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    numbers: list[int] = []
    elector.on_elected(lambda leadership: numbers.append(leadership.number))
    for _ in range(3):
        elector.start()
        assert elector.wait_until_leader(PATIENCE)
        told = threading.Event()
        elector.on_elected(told.set)
        assert told.wait(PATIENCE)
        assert elector.stop()
    assert numbers == [1, 2, 3]


def test_callbacks_of_two_lives_never_overlap(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    entered, release = threading.Event(), threading.Event()
    inside, overlaps, finished = [], [], threading.Semaphore(0)

    def slow(leadership: Leadership) -> None:
        if inside:
            overlaps.append(leadership.number)
        inside.append(leadership.number)
        entered.set()
        release.wait(PATIENCE)
        inside.clear()
        finished.release()

    elector.on_elected(slow)
    elector.start()
    assert entered.wait(PATIENCE)
    assert not elector.stop(timeout=0)
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    release.set()
    assert finished.acquire(timeout=PATIENCE)
    assert finished.acquire(timeout=PATIENCE), "the second leadership is told, later"
    assert overlaps == []


def test_an_ended_lifes_last_words_count_for_nothing(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    asked, release, sent = threading.Event(), threading.Event(), threading.Event()
    good = server.on_get

    def late(connection: Connection) -> None:
        asked.set()
        release.wait(PATIENCE)
        good(connection)
        sent.set()

    server.leader, server.on_get = "pod-a", late
    elector = make_elector(get_url=server.get_url, request_timeout=20.0, grace_period=60.0).start()
    assert asked.wait(PATIENCE)
    elector.stop(timeout=0)
    release.set()
    assert sent.wait(PATIENCE)
    assert elector.stop(timeout=PATIENCE)
    assert elector.state is State.UNKNOWN


def test_start_and_stop_from_many_threads(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    barrier = threading.Barrier(4)

    def churn() -> None:
        barrier.wait()
        for _ in range(10):
            elector.start()
            elector.stop(timeout=0)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert elector.stop()
    assert elector.state is State.UNKNOWN
    elector.start()
    assert elector.wait_until_leader(PATIENCE)


def run_to_the_end(script: str) -> tuple[int, str, str]:
    """A Python that warns of whatever is left open: its exit code, output and errors."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_exit_steps_down_quietly(server: ScriptedServer) -> None:
    """The interpreter ends without `stop`: on_demoted still runs, and nothing else is said."""
    server.leader = "pod-a"
    script = f"""
from elector_thread import Elector
elector = Elector(get_url={server.get_url!r}, sse_url={server.sse_url!r}, identity="pod-a")
elector.on_demoted(lambda: print("stepped down", elector.is_leader, flush=True))
told = __import__("threading").Event()
elector.on_elected(told.set)
elector.start()
assert told.wait(10)
"""
    assert run_to_the_end(script) == (0, "stepped down False\n", "")


def test_an_elector_that_nobody_kept_steps_down_at_exit_too(server: ScriptedServer) -> None:
    server.leader = "pod-a"
    script = f"""
import gc, threading
from elector_thread import Elector
def set_up():
    told = threading.Event()
    elector = Elector(get_url={server.get_url!r}, identity="pod-a")
    elector.on_elected(told.set)
    elector.on_demoted(lambda: print("stepped down", flush=True))
    elector.start()
    assert told.wait(10)
set_up()
gc.collect()
"""
    assert run_to_the_end(script) == (0, "stepped down\n", "")


@pytest.mark.parametrize("use", ["refresh()", "start().wait_until_known(10)"])
def test_exit_leaves_no_socket_open(server: ScriptedServer, use: str) -> None:
    server.leader = "pod-a"
    script = f"""
from elector_thread import Elector
elector = Elector(get_url={server.get_url!r}, identity="pod-b")
elector.{use}
"""
    assert run_to_the_end(script) == (0, "", "")


def test_exit_closes_what_is_asked_on_the_way_out(server: ScriptedServer) -> None:
    """urllib3 closes its idle connections at exit, before we step down: a GET may come between."""
    script = f"""
import atexit
from elector_thread import Elector
elector = Elector(get_url={server.get_url!r})
atexit.register(elector.refresh)  # after urllib3's turn, which is registered with its first pool
elector.refresh()
"""
    assert run_to_the_end(script) == (0, "", "")
    assert len(server.heads) == 2

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
from elector_thread.life import Life
from elector_thread.link import Link

from elector_thread import Elector, ElectorUnavailableError, Leadership, State
from elector_thread._state.clock import now
from elector_thread._state.store import Cell

from .conftest import MakeElector
from .polling import until
from .scripted import CHUNKED_SSE_HEAD, PATIENCE, Connection, ScriptedServer, answer, result


def test_start_neither_blocks_nor_fails_without_an_elector() -> None:
    elector = Elector(get_url="http://127.0.0.1:1/", sse_url="http://127.0.0.1:1/sse")
    began = now()
    with elector:
        assert now() - began < 0.5
        assert elector.state is State.UNKNOWN


def test_stop_demotes_first_and_wakes_a_blocked_read_at_once(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(poll_interval=10, reconcile_interval=10).start()
    server.wait_streams()
    assert elector.wait_until_leader(PATIENCE)
    began = now()
    assert elector.stop()
    assert now() - began < 0.1 * 5, "five times the promise, for a busy machine"
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
    elector = make_elector(request_timeout=20.0, grace_period=60.0).start()
    assert reached.wait(PATIENCE)
    began = now()
    assert elector.stop()
    assert now() - began < 1.0


def test_stop_is_prompt_while_get_hangs(server: ScriptedServer, make_elector: MakeElector) -> None:
    asked = threading.Event()
    server.on_get = lambda connection: (asked.set(), connection.wait_gone())
    elector = make_elector(request_timeout=20.0, grace_period=60.0).start()
    assert asked.wait(PATIENCE)
    began = now()
    assert elector.stop()
    assert now() - began < 1.0
    assert elector.status().counts.failures == 0


def test_stop_by_a_signal_handler_is_prompt_while_the_main_thread_refreshes(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """The refresh cannot go on before the handler returns, and poll waits behind it."""
    asked = threading.Event()
    server.on_get = lambda connection: (asked.set(), connection.wait_gone())
    elector = make_elector(request_timeout=20.0, grace_period=60.0)
    stopped: list[tuple[bool, float]] = []

    def stop(*_: object) -> None:
        began = now()
        stopped.append((elector.stop(timeout=PATIENCE), now() - began))

    def interrupt() -> None:
        asked.wait(PATIENCE)
        elector.start()
        until(lambda: "ask" in functions_of("elector-poll"))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    interrupting = threading.Thread(target=interrupt)
    try:
        interrupting.start()
        with pytest.raises(ElectorUnavailableError, match="stopped meanwhile"):
            elector.refresh()
        interrupting.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    (ended, took), *others = stopped
    assert (ended, others) == (True, [])
    assert took < 1.0


def test_a_refresh_by_a_signal_handler_within_a_refresh_fails_at_once(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """It cannot wait for the one that it has interrupted."""
    asked, release = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        asked.set()
        release.wait(PATIENCE)
        connection.send(answer(result("pod-a")))

    server.on_get = hold
    elector = make_elector(request_timeout=20.0, grace_period=60.0)
    refused: list[str] = []

    def refresh(*_: object) -> None:
        try:
            elector.refresh()
        except ElectorUnavailableError as error:
            refused.append(str(error))
        release.set()

    def interrupt() -> None:
        asked.wait(PATIENCE)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, refresh)
    try:
        threading.Thread(target=interrupt).start()
        assert elector.refresh().is_leader
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(refused) == 1
    assert "asking already" in refused[0]


class Interrupted(BaseException):
    """What a signal handler raises: Ctrl-C, a time limit."""


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("elector-")]


def test_a_stop_that_was_interrupted_is_completed_by_the_next(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    cut_short = [Interrupted]
    end = Cell.end_epoch

    def interrupted(cell: Cell) -> None:
        end(cell)
        if cut_short:
            raise cut_short.pop()

    monkeypatch.setattr(Cell, "end_epoch", interrupted)
    with pytest.raises(Interrupted):
        elector.stop()
    assert elector.stop()
    assert (elector.state, own_threads()) == (State.UNKNOWN, [])


@pytest.mark.parametrize("timeout", [PATIENCE, None])
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
    touch = Cell._touch
    interrupts = [threading.current_thread()]
    took: list[float] = []

    def handle(*_: object) -> None:
        began = now()
        elector.stop(timeout)
        took.append(now() - began)

    def interrupted(cell: Cell) -> None:
        if threading.current_thread() in interrupts:
            interrupts.clear()
            signal.raise_signal(signal.SIGUSR1)  # the lock is held here
        touch(cell)

    monkeypatch.setattr(Cell, "_touch", interrupted)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        assert elector.stop()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert took[0] < 1.0
    assert demoted.is_set()
    assert own_threads() == []


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
    """There is no life yet that the handler could end, but there are connections."""
    elector = make_elector()
    stopped: list[bool] = []

    def handled(*args: Any, **kwargs: Any) -> Life:
        if not stopped:
            stopped.append(elector.stop())
        return Life(*args, **kwargs)

    monkeypatch.setattr("elector_thread.elector.Life", handled)
    elector.start()
    assert not elector.status().running
    until(lambda: own_threads() == [])
    server.leader = "pod-a"
    elector.start()
    assert elector.wait_until_leader(PATIENCE)


def test_an_answer_that_was_asked_for_before_the_stop_makes_no_leader_after_it(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of the life and the end of its connections poll may ask once more."""
    server.leader = "pod-a"
    elector = make_elector(sse_url=None, get_url=server.get_url, poll_interval=0.02)
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    end = Cell.end_epoch

    def slowly(cell: Cell) -> None:
        end(cell)
        server.wait_gets(3)

    with monkeypatch.context() as patched:
        patched.setattr(Cell, "end_epoch", slowly)
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
    look = Cell.next_change
    stopping: list[threading.Thread] = []

    def look_and_stop(cell: Cell) -> object:
        found = look(cell)
        if led.is_set() and not stopping:
            stopping.append(threading.Thread(target=elector.stop))
            stopping[0].start()
            until(lambda: not elector.status().running)
        return found

    monkeypatch.setattr(Cell, "next_change", look_and_stop)
    elector.start()
    assert led.wait(PATIENCE)
    until(lambda: own_threads() == [])
    assert told == ["elected", "demoted"]


def test_a_turn_that_was_never_given_back_ends_by_itself() -> None:
    link = Link()
    assert link.take_turn(0.05)
    assert link.is_mine
    taken: list[bool] = []
    other = threading.Thread(target=lambda: taken.append(link.take_turn(10)))
    other.start()
    other.join(PATIENCE)
    assert taken == [True]
    assert not link.is_mine


def test_a_wait_for_anything_known_ends_while_a_callback_hinders_the_news_of_its_loss(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """The grace has run out, and nobody could be told; then there is contact again."""
    server.leader = "pod-b"
    elector = make_elector(
        get_url=server.get_url, sse_url=None, grace_period=1.5, request_timeout=1.0
    )
    entered, release = threading.Event(), threading.Event()
    elector.on_leader_change(lambda: (entered.set(), release.wait(PATIENCE)))
    elector.start()
    assert entered.wait(PATIENCE)
    usual, server.on_get = server.on_get, lambda c: c.send(answer(b"", b"HTTP/1.1 503 No\r\n"))
    until(lambda: elector.state is State.UNKNOWN)
    known: list[bool] = []
    waiting = threading.Thread(target=lambda: known.append(elector.wait_until_known(PATIENCE)))
    waiting.start()
    until(lambda: "wait_for" in functions_of(waiting.name))
    server.on_get = usual
    until(lambda: elector.state is State.FOLLOWER)
    waiting.join(2.0)
    told = list(known)
    release.set()
    assert told == [True]


def test_an_elector_can_be_neither_copied_nor_pickled(make_elector: MakeElector) -> None:
    elector = make_elector()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            attempt(elector)


def test_a_refresh_that_is_interrupted_in_its_wait_passes_its_turn_on(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """The turn becomes free, and main is woken, while its signal handler runs: which raises."""
    asked, release, first_done = (threading.Event() for _ in range(3))

    def hold(connection: Connection) -> None:
        asked.set()
        release.wait(PATIENCE)
        connection.send(answer(result("pod-a")))

    server.on_get = hold
    elector = make_elector(request_timeout=20.0, grace_period=60.0)

    def ask_first() -> None:
        elector.refresh()
        first_done.set()

    def ask_last_and_interrupt() -> None:
        until(lambda: "take_turn" in functions_of("MainThread"))
        last.start()
        until(lambda: "take_turn" in functions_of("last"))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def give_up(*_: object) -> None:
        release.set()
        first_done.wait(PATIENCE)
        raise Interrupted

    first, interrupting = (threading.Thread(target=t) for t in (ask_first, ask_last_and_interrupt))
    last = threading.Thread(target=elector.refresh, name="last", daemon=True)
    before = signal.signal(signal.SIGUSR1, give_up)
    try:
        first.start()
        assert asked.wait(PATIENCE)
        interrupting.start()
        with pytest.raises(Interrupted):
            elector.refresh()
    finally:
        signal.signal(signal.SIGUSR1, before)
    last.join(PATIENCE)
    assert not last.is_alive(), "nobody told it that its turn has come"


def functions_of(thread: str) -> list[str]:
    """What a thread is in at the moment, outermost last; nothing if there is no such thread."""
    frames = sys._current_frames()
    inner = [frames.get(one.ident) for one in threading.enumerate() if one.name == thread]
    return [frame.f_code.co_name for one in inner if one for frame, _ in traceback.walk_stack(one)]


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
        elector = make_elector(get_url=url, sse_url=url, request_timeout=20.0, grace_period=60.0)
        before = _connecting_to(address[1])
        elector.start()
        until(lambda: _connecting_to(address[1]) >= before + 2)
        began = now()
        assert elector.stop()
        assert now() - began < 1.0
    assert caplog.text == ""


def _connecting_to(port: int) -> int:
    """How many connections to ``port`` wait for an answer (state 02, SYN_SENT)."""
    return Path("/proc/net/tcp").read_text().count(f":{port:04X} 02 ")


def test_a_name_that_is_looked_up_for_ever_delays_neither_refresh_nor_stop(
    make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, found, calls = threading.Event(), threading.Event(), []
    look_up = socket.getaddrinfo

    def slow(host: str, *args: Any, flags: int = 0, **options: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            calls.append(host)
            looking.set()
            found.wait(2 * PATIENCE)
        return look_up(host, *args, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    began = now()
    for _ in range(2):
        with pytest.raises(ElectorUnavailableError, match="in time"):
            Elector(get_url="http://slow.invalid/", request_timeout=0.05).refresh()
    looking.clear()
    elector = make_elector(get_url="http://slow.invalid/", request_timeout=20.0, grace_period=60.0)
    elector.start()
    assert looking.wait(PATIENCE)
    assert elector.stop()
    assert now() - began < PATIENCE / 2
    found.set()
    assert len(calls) == 3


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
        timeout=30,
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
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "stepped down\n", "")


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
    assert server.gets == 2

"""The promises about the truth and about asking politely, over real HTTP."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from itertools import pairwise
from typing import Any

import pytest

from elector_thread import (
    Elector,
    ElectorUnavailableError,
    LeaderChange,
    State,
)
from elector_thread._runtime import stream
from elector_thread._sidecar.calls import SidecarClient
from elector_thread._state import backoff
from elector_thread._state.clock import now

from .conftest import MakeElector
from .polling import until
from .scripted import (
    CHUNKED_SSE_HEAD,
    PATIENCE,
    Connection,
    ScriptedServer,
    answer,
    chunk,
    event,
    result,
)

SHORT_GRACE = {"grace_period": 1.5, "request_timeout": 1.0}


def eventually(elector: Elector, state: State) -> None:
    wait = elector.wait_until_leader if state is State.LEADER else elector.wait_until_known
    assert wait(PATIENCE)
    assert elector.state is state


class Heard:
    """A handler that records leader changes and lets a test wait for the next."""

    def __init__(self, elector: Elector) -> None:
        self.changes: list[LeaderChange] = []
        self._condition = threading.Condition()
        elector.on_leader_change(self.hear)

    def hear(self, change: LeaderChange) -> None:
        with self._condition:
            self.changes.append(change)
            self._condition.notify_all()

    def wait(self, current: str) -> None:
        with self._condition:
            assert self._condition.wait_for(
                lambda: bool(self.changes) and self.changes[-1].current == current, PATIENCE
            ), f"never heard of {current}: {self.changes}"


# --- truth --------------------------------------------------------------------------------


def test_unknown_until_the_first_result_then_who_it_says(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    elector = make_elector()
    assert elector.state is State.UNKNOWN
    elector.start()
    server.wait_streams()
    server.wait_gets(2)
    assert (elector.state, elector.leader, elector.is_leader) == (State.UNKNOWN, None, False)
    server.elect("pod-b")
    eventually(elector, State.FOLLOWER)
    assert (elector.leader, elector.is_leader) == ("pod-b", False)
    server.elect("pod-a")
    eventually(elector, State.LEADER)
    assert (elector.leader, elector.is_leader) == ("pod-a", True)


def test_the_name_is_compared_exactly(server: ScriptedServer, make_elector: MakeElector) -> None:
    for name in ("pod-a ", "POD-A", "pod-a.", "pod-"):
        server.leader = name
        assert make_elector().refresh().state is State.FOLLOWER


def test_leadership_runs_out_without_confirmation_and_comes_back(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(**SHORT_GRACE).start()
    eventually(elector, State.LEADER)
    ended = threading.Event()
    elector.on_demoted(ended.set)
    server.on_get = server.on_stream = Connection.reset
    server.drop_streams()
    assert ended.wait(PATIENCE)
    assert (elector.state, elector.leader) == (State.UNKNOWN, None)
    server.on_get = lambda connection: connection.send(answer(result("pod-a")))
    eventually(elector, State.LEADER)


def test_a_dropped_stream_alone_is_no_demotion(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    eventually(elector, State.LEADER)
    server.wait_streams()
    server.on_get = server.on_stream = Connection.reset
    failures = elector.status().counts.failures
    server.drop_streams()
    until(lambda: elector.status().stream != "open")
    until(lambda: elector.status().counts.failures >= failures + 3)
    assert elector.is_leader


@pytest.mark.parametrize(
    "body",
    [b"{}", b"", b"pod-b", b'{"name":7}', b"[" * 60000],
    ids=["empty", "nothing", "text", "number", "deep"],
)
def test_what_confirms_nothing_demotes_nobody_by_itself(
    server: ScriptedServer, make_elector: MakeElector, body: bytes
) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    eventually(elector, State.LEADER)
    server.wait_streams()
    server.on_get = lambda connection: connection.send(answer(body))
    server.send_to_streams(chunk(b"data: " + body + b"\n\n"))
    server.wait_gets(3)
    assert elector.is_leader


def test_what_confirms_nothing_extends_nothing(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(**SHORT_GRACE).start()
    eventually(elector, State.LEADER)
    ended = threading.Event()
    elector.on_demoted(ended.set)
    server.leader = None
    server.push(None)
    assert ended.wait(PATIENCE)
    assert elector.status().counts.failures == 0, "{} is an answer"


def test_an_answer_on_its_way_does_not_overwrite_newer_news(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    asked, release, answered = threading.Event(), threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        asked.set()
        release.wait(PATIENCE)
        connection.send(answer(result("pod-a")))
        answered.set()

    server.on_get = slow
    elector = make_elector(request_timeout=10.0, grace_period=60.0)
    heard = Heard(elector)
    elector.start()
    server.wait_streams()
    assert asked.wait(PATIENCE)
    server.push("pod-b")
    heard.wait("pod-b")
    server.on_get = lambda connection: connection.send(answer(result("pod-c")))
    release.set()
    heard.wait("pod-c")
    assert [change.current for change in heard.changes] == ["pod-b", "pod-c"]


def test_events_that_waited_for_the_stream_thread_do_not_win_over_later_answers(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """A log handler delays the stream thread; meanwhile other pods were elected."""
    held_up, release = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "unreadable" in record.getMessage():
                held_up.set()
                release.wait(PATIENCE)

    called: list[str] = []
    server.leader = "pod-b"
    elector = make_elector(reconcile_interval=0.1)
    elector.on_elected(lambda: called.append("elected"))
    handler = Slow()
    logging.getLogger("elector_thread").addHandler(handler)
    try:
        elector.start()
        server.wait_streams()
        eventually(elector, State.FOLLOWER)
        server.send_to_streams(chunk(b"data: unreadable\n\n"))
        assert held_up.wait(PATIENCE)
        server.push("pod-a")  # stays in the socket while GETs are answered
        answers = elector.status().counts.answers
        until(lambda: elector.status().counts.answers >= answers + 3, "a GET from after the push")
        events = elector.status().counts.events
        release.set()
        until(lambda: elector.status().counts.events > events, "the old event to be read")
        server.wait_gets(2)
    finally:
        release.set()
        logging.getLogger("elector_thread").removeHandler(handler)
    assert elector.stop()
    assert called == []


def test_an_event_makes_poll_ask_at_once_but_at_most_once_a_second(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    elector = make_elector(poll_interval=20, reconcile_interval=20)
    heard = Heard(elector)
    elector.start()
    server.wait_streams()
    heard.wait("pod-b")
    server.wait_for(lambda: server.gets >= 2)  # at the start, and for the first event
    before, began = server.gets, now()
    for number in range(40):
        server.push(f"pod-{number}")
        until(lambda number=number: elector.status().counts.events == number + 2)
    server.wait_for(lambda: server.gets > before)
    assert server.gets - before <= 2 + (now() - began)


def test_a_named_event_counts_if_it_names_the_leader(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    elector = make_elector(poll_interval=20, reconcile_interval=20)
    heard = Heard(elector)
    elector.start()
    server.wait_streams()
    heard.wait("pod-b")
    server.leader = "pod-c"
    server.send_to_streams(chunk(b"event: leader\n" + event("pod-c")))
    heard.wait("pod-c")


def test_an_unreadable_event_makes_poll_ask(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elector_thread._runtime.poll.LEAST_PAUSE", 0.1)
    server.leader = "pod-b"
    elector = make_elector(poll_interval=20, reconcile_interval=20)
    heard = Heard(elector)
    elector.start()
    server.wait_streams()
    heard.wait("pod-b")
    server.wait_for(lambda: server.gets >= 2)
    server.leader = "pod-c"
    server.send_to_streams(chunk(b'data: {"name": 7}\n\n'))
    heard.wait("pod-c")


def test_slow_answers_do_not_make_the_questions_rarer(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """The pause counts from the question, as the grace period does."""
    asked: list[float] = []

    def slow(connection: Connection) -> None:
        asked.append(now())
        threading.Event().wait(0.5)
        connection.send(answer(result("pod-a")))

    server.on_get = slow
    elector = make_elector(get_url=server.get_url, poll_interval=0.6, reconcile_interval=0.6)
    elector.start()
    until(lambda: any(b - a < 0.6 + 0.5 for a, b in pairwise(list(asked))), "an early question")


def test_a_late_callback_is_not_called_with_a_leader_that_is_not_known_any_more(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    elector = make_elector(get_url=server.get_url, **SHORT_GRACE)
    early = Heard(elector)
    elector.start()
    early.wait("pod-b")
    server.leader = None
    until(lambda: elector.state is State.UNKNOWN)
    late = Heard(elector)
    server.wait_gets(2)
    assert late.changes == []
    server.leader = "pod-b"
    late.wait("pod-b")


def test_a_failed_get_is_repeated_every_poll_interval_though_the_stream_is_open(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    """A sidecar that hangs must not cost a leadership whose grace period outlasts it."""
    server.leader = "pod-a"
    elector = make_elector(poll_interval=0.1, reconcile_interval=20.0, grace_period=30.0).start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_streams()
    good = server.on_get
    server.on_get = lambda c: c.send(answer(b"", b"HTTP/1.1 503 No\r\n"))
    with contextlib.suppress(ElectorUnavailableError):
        elector.refresh()
    server.wait_gets(5)
    assert elector.status().stream == "open"
    server.on_get = good
    answers = elector.status().counts.answers
    until(lambda: elector.status().counts.answers > answers, "an answer", within=PATIENCE)


def test_get_wins_over_a_silent_stream(server: ScriptedServer, make_elector: MakeElector) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    eventually(elector, State.LEADER)
    server.wait_streams()
    began, ended = threading.Event(), threading.Event()
    elector.on_elected(began.set)
    elector.on_demoted(ended.set)
    assert began.wait(PATIENCE)
    server.leader = "pod-b"  # and the stream, still open, never says so
    assert ended.wait(PATIENCE)
    assert elector.leader == "pod-b"
    assert len(server.streams) == 1, "a silent stream is not reconnected"
    assert server.stream_requests == 1


@pytest.mark.parametrize("chunks", ["one chunk", "a chunk each"])
def test_events_that_came_in_together_count_one_by_one(
    server: ScriptedServer, make_elector: MakeElector, chunks: str
) -> None:
    server.leader = "pod-b"
    server.on_get = lambda connection: connection.send(answer(b"{}"))  # the stream alone tells
    elector = make_elector()
    heard = Heard(elector)
    elector.start()
    server.wait_streams()
    heard.wait("pod-b")
    news = [event("pod-a"), event("pod-c")]
    server.send_to_streams(
        chunk(b"".join(news)) if chunks == "one chunk" else b"".join(map(chunk, news))
    )
    heard.wait("pod-c")
    assert heard.changes[1:] == [LeaderChange("pod-b", "pod-a"), LeaderChange("pod-a", "pod-c")]
    assert elector.state is State.FOLLOWER


def test_old_electors_without_a_stream_are_polled(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    server.on_stream = server.on_get  # the catch-all
    elector = make_elector().start()
    eventually(elector, State.FOLLOWER)
    server.wait_gets(5)
    server.leader = "pod-a"
    assert elector.wait_until_leader(PATIENCE)
    assert server.stream_requests == 1
    assert elector.status().stream == "absent"


def test_polling_alone(server: ScriptedServer, make_elector: MakeElector) -> None:
    server.leader = "pod-a"
    elector = make_elector(get_url=server.get_url).start()
    eventually(elector, State.LEADER)
    assert server.stream_requests == 0
    assert elector.status().stream == "off"


# --- politeness ---------------------------------------------------------------------------


def test_one_stream_and_one_connection_for_get(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    make_elector().start()
    server.wait_streams()
    server.wait_gets(5)
    assert (server.connections, server.stream_requests) == (2, 1)


def test_a_lost_stream_makes_poll_ask_at_once_and_faster(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(poll_interval=0.1, reconcile_interval=20.0).start()
    server.wait_streams()
    eventually(elector, State.LEADER)
    server.on_stream = Connection.reset
    goal = server.gets + 4
    server.drop_streams()
    server.wait_for(lambda: server.gets >= goal)


def test_reconnects_back_off(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    enough = threading.Event()

    def record(self: stream.Stream, seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) >= 12:
            enough.set()
            self._store.wait_for(lambda *_: False, PATIENCE)

    monkeypatch.setattr(stream.Stream, "_sleep", record)
    server.on_stream = Connection.reset
    make_elector().start()
    assert enough.wait(PATIENCE)
    assert all(0 <= pause <= min(300, 2**attempt) for attempt, pause in enumerate(pauses))
    assert len(set(pauses)) > 6, "jitter"


def test_where_there_is_no_stream_it_is_asked_for_rarely(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    slept = threading.Event()

    def record(self: stream.Stream, seconds: float) -> None:
        pauses.append(seconds)
        slept.set()
        self._store.wait_for(lambda *_: False, PATIENCE)

    monkeypatch.setattr(stream.Stream, "_sleep", record)
    server.on_stream = lambda c: c.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    make_elector().start()
    assert slept.wait(PATIENCE)
    assert pauses == [300.0]


def test_each_recovery_of_get_cuts_the_pause_short_but_not_endlessly(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    good = server.on_get
    server.on_stream = lambda c: c.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    elector = make_elector(poll_interval=0.02).start()
    server.wait_for(lambda: server.stream_requests == 1)
    for recovery in range(1, stream.MOST_EARLY_TRIES + 4):
        server.on_get = Connection.reset
        failures = elector.status().counts.failures
        until(lambda failures=failures: elector.status().counts.failures > failures)
        server.on_get = good
        expected = 1 + min(recovery, stream.MOST_EARLY_TRIES)
        server.wait_for(lambda expected=expected: server.stream_requests == expected)
        server.wait_gets(2)
    assert server.stream_requests == 1 + stream.MOST_EARLY_TRIES
    assert elector.status().stream == "absent"


def test_a_long_healthy_life_resets_the_back_off(
    server: ScriptedServer, make_elector: MakeElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection counts as healthy here: no pause is longer than the first may be."""
    monkeypatch.setattr(backoff, "HEALTHY", 0.0)
    pauses: list[float] = []
    monkeypatch.setattr(stream.Stream, "_sleep", lambda _, seconds: pauses.append(seconds))
    server.on_stream = lambda c: (c.send(CHUNKED_SSE_HEAD + chunk(event("pod-b"))), c.shut())
    make_elector().start()
    server.wait_for(lambda: server.stream_requests >= 8)
    assert len(pauses) >= 7
    assert all(0 <= pause <= 1 for pause in pauses)


def test_asked_to_wait_poll_waits_but_not_beyond_the_grace(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    busy = b"HTTP/1.1 429 No\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    server.on_get = lambda connection: connection.send(busy)
    began = now()
    make_elector(get_url=server.get_url, poll_interval=0.05, reconcile_interval=0.5).start()
    server.wait_gets(3)
    assert now() - began >= 2 * 0.5 - 0.1


# --- refresh, the simple API --------------------------------------------------------------


def test_refresh_alone_is_enough(server: ScriptedServer, make_elector: MakeElector) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    before = set(threading.enumerate())
    status = elector.refresh()
    assert status.is_leader
    assert elector.is_leader
    assert not [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("elector-")
    ]
    server.leader = "pod-b"
    assert elector.refresh().leader == "pod-b"
    assert not elector.is_leader
    assert server.connections == 2, "one for each, and none kept"


def test_refresh_confirms_only_for_the_grace_period(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(
        poll_interval=0.05, reconcile_interval=0.05, request_timeout=1.0, grace_period=1.5
    )
    assert elector.refresh().is_leader
    until(lambda: elector.state is State.UNKNOWN)


def test_a_refresh_that_finds_the_elector_back_has_the_stream_tried_at_once(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    answers, stream_again = server.on_get, server.on_stream
    server.on_get = Connection.reset
    server.on_stream = lambda c: c.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    elector = make_elector(poll_interval=30.0, reconcile_interval=30.0, grace_period=60.0).start()
    until(lambda: elector.status().counts.failures and elector.status().stream == "absent")
    server.on_get, server.on_stream = answers, stream_again
    assert elector.refresh().leader == "pod-b"
    server.wait_streams()  # by itself it would be tried again after five minutes


def test_refresh_before_the_first_election_is_no_error(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    status = make_elector().refresh()
    assert (status.state, status.counts.answers, status.last_error) == (State.UNKNOWN, 1, None)


def test_refresh_says_why_there_is_no_answer(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    elector.refresh()
    server.close()
    with pytest.raises(ElectorUnavailableError, match="connection refused") as caught:
        elector.refresh()
    assert caught.value.__context__ is None
    assert elector.is_leader, "an error demotes nobody by itself"


def test_refresh_ended_by_stop_says_so(server: ScriptedServer, make_elector: MakeElector) -> None:
    asked, failures = threading.Event(), []
    server.on_get = lambda connection: (asked.set(), connection.wait_gone())
    elector = make_elector(request_timeout=15.0)

    def refresh() -> None:
        with pytest.raises(ElectorUnavailableError, match="stopped") as caught:
            elector.refresh()
        failures.append(caught.value)

    thread = threading.Thread(target=refresh)
    thread.start()
    assert asked.wait(PATIENCE)
    elector.stop()
    thread.join(PATIENCE)
    assert len(failures) == 1
    assert elector.status().counts.failures == 0


# --- waiting ------------------------------------------------------------------------------


def test_waiting_starts_what_was_never_started(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    elector = make_elector()
    assert elector.wait_until_known(PATIENCE)
    assert elector.leader == "pod-b"
    assert not elector.wait_until_leader(0.01)
    server.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)


def test_stop_ends_a_wait(server: ScriptedServer, make_elector: MakeElector) -> None:
    elector = make_elector().start()
    server.wait_streams()
    results: list[bool] = []
    entered = threading.Event()

    def wait() -> None:
        entered.set()
        results.append(elector.wait_until_leader())

    thread = threading.Thread(target=wait)
    thread.start()
    assert entered.wait(PATIENCE)
    elector.stop()
    thread.join(PATIENCE)
    assert results == [False]
    assert not elector.wait_until_known(), "stopped: it will not become known"


# --- the status ---------------------------------------------------------------------------


def test_the_status_is_json_and_consistent(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    server.wait_streams()
    eventually(elector, State.LEADER)
    status = elector.status()
    shown = json.loads(json.dumps(status.as_dict()))
    assert shown["state"] == "leader"
    assert shown["is_leader"] is True
    assert shown["leader"] == shown["identity"] == "pod-a"
    assert shown["leadership"] == 1
    assert shown["running"] is True
    assert 0 <= shown["age"] < 30 - shown["expires_in"] + 0.1
    assert (shown["scope"], shown["holds_lock"]) == ("pod", None)
    elector.stop()
    status = elector.status()
    assert (status.state, status.running, status.stream) == (State.UNKNOWN, False, "off")
    assert (status.age, status.expires_in, status.leadership) == (None, None, None)
    assert (status.counts.elected, status.counts.demoted) == (1, 1)


def test_the_repr_tells_the_state_and_no_secret(server: ScriptedServer) -> None:
    url = f"http://user:secret@127.0.0.1:{server.port}/"
    elector = Elector(get_url=url, identity="pod-a")
    assert repr(elector) == f"<Elector 'pod-a' UNKNOWN at http://127.0.0.1:{server.port}/>"


# --- unconfigured -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "state", "leader"),
    [("lead", State.LEADER, "pod-a"), ("follow", State.FOLLOWER, None)],
)
def test_unconfigured_work_assumes_what_it_is_told(
    choice: str, state: State, leader: str | None
) -> None:
    began = threading.Event()
    with Elector(identity="pod-a", when_unconfigured=choice) as elector:
        elector.on_elected(began.set)
        assert elector.wait_until_known(PATIENCE)
        assert (elector.state, elector.leader) == (state, leader)
        assert began.wait(PATIENCE if choice == "lead" else 0.05) is (choice == "lead")
        assert elector.status().expires_in is None
    assert elector.state is State.UNKNOWN
    assert elector.refresh().state is state


# --- logging ------------------------------------------------------------------------------


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="elector_thread")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in log.records]


def test_an_outage_is_one_line_at_its_begin_and_one_at_its_end(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stream, "LONGEST_PAUSE", 0.05)
    server.leader = "pod-b"
    elector = make_elector().start()
    eventually(elector, State.FOLLOWER)
    server.wait_streams()
    assert lines(log) == []
    good = server.on_get
    server.on_get = server.on_stream = Connection.reset
    until(lambda: lines(log), "the outage to be logged")
    server.drop_streams()
    failures = elector.status().counts.failures
    until(lambda: elector.status().counts.failures >= failures + 4)
    ((level, text),) = lines(log)
    assert level == "WARNING"
    assert f"http://127.0.0.1:{server.port}/" in text
    assert "connection lost" in text
    server.on_stream = server.serve_stream
    server.wait_streams()
    server.on_get = good
    server.wait_gets(2)
    until(lambda: len(lines(log)) > 1, "the end of the outage to be logged")
    ((level, text),) = lines(log)[1:]
    assert (level, text.split(",")[0]) == (
        "INFO",
        f"the elector at http://127.0.0.1:{server.port}/ answers again",
    )


def test_readable_and_unreadable_events_in_turns_are_one_line(
    server: ScriptedServer, make_elector: MakeElector, log: pytest.LogCaptureFixture
) -> None:
    server.leader = "pod-b"
    elector = make_elector().start()
    server.wait_streams()
    server.wait_gets(1)
    for _ in range(5):
        server.send_to_streams(chunk(b"data: ping\n\n"))
        server.push("pod-b")
    until(lambda: elector.status().counts.events == 6)
    assert elector.status().counts.unreadable == 5
    assert [level for level, _ in lines(log)] == ["WARNING"]


def test_a_server_that_echoes_the_request_does_not_bring_its_secrets_into_the_log(
    server: ScriptedServer, make_elector: MakeElector, log: pytest.LogCaptureFixture
) -> None:
    echo = b'{"error": "/?token=s3cret"}'

    def tell(connection: Connection) -> None:
        if connection.path.startswith("/sse"):
            connection.send(CHUNKED_SSE_HEAD + chunk(b"data: " + echo + b"\n\n"))
            connection.wait_gone()
        connection.send(answer(echo))

    server.on_get = tell
    base = f"http://127.0.0.1:{server.port}/"
    elector = make_elector(get_url=f"{base}?token=s3cret", sse_url=f"{base}sse?token=s3cret")
    elector.start()
    until(lambda: elector.status().counts.unreadable and elector.status().counts.failures)
    with pytest.raises(ElectorUnavailableError) as caught:
        elector.refresh()
    shown = f"{log.text} {caught.value} {elector.status()} {elector!r}"
    assert "s3cret" not in shown


def test_a_stream_out_of_order_is_one_line_and_what_it_says_is_escaped(
    server: ScriptedServer, make_elector: MakeElector, log: pytest.LogCaptureFixture
) -> None:
    server.leader = "pod-b"
    elector = make_elector().start()
    server.wait_streams()
    server.wait_gets(1)
    for _ in range(5):
        server.send_to_streams(chunk(b"data: \x1b[31mboo\n\n"))
    until(lambda: elector.status().counts.unreadable == 5)
    ((level, text),) = lines(log)
    assert (level, r"\x1b[31mboo" in text, "\x1b" in text) == ("WARNING", True, False)
    assert elector.status().state is State.FOLLOWER


def test_the_return_of_a_stream_whose_absence_was_told_is_told(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stream, "LONGEST_PAUSE", 0.05)
    server.leader = "pod-b"
    stream_again = server.on_stream
    server.on_stream = Connection.reset
    elector = make_elector().start()
    until(lambda: lines(log), "the absence to be told")
    server.on_stream = stream_again
    until(lambda: elector.status().stream == "open", "the stream's return")
    until(lambda: len(lines(log)) == 2, "the return to be told")
    (_, gone), (level, back) = lines(log)
    assert gone == "no event stream: connection lost; polling until it is back"
    assert (level, back.startswith("the event stream is back, after ")) == ("INFO", True)


def test_a_stream_that_opens_and_never_says_anything_is_one_line(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stream, "LONGEST_PAUSE", 0.01)
    server.leader = "pod-b"
    server.on_stream = lambda c: c.send(CHUNKED_SSE_HEAD + b"0\r\n\r\n")
    make_elector().start()
    server.wait_for(lambda: server.stream_requests >= 6)
    message = "no event stream: closed by the elector; polling until it is back"
    assert lines(log) == [("INFO", message)]


def test_leadership_is_logged(
    server: ScriptedServer, make_elector: MakeElector, log: pytest.LogCaptureFixture
) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    elector.wait_until_leader(PATIENCE)
    told = threading.Event()
    elector.on_elected(told.set)
    assert told.wait(PATIENCE)
    elector.stop()
    assert lines(log) == [
        ("INFO", "pod-a is the leader (leadership 1)"),
        ("INFO", "pod-a is no longer the leader (leadership 1): stopped"),
    ]


def test_no_stream_here_is_one_line(
    server: ScriptedServer, make_elector: MakeElector, log: pytest.LogCaptureFixture
) -> None:
    server.on_stream = lambda c: c.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    elector = make_elector().start()
    until(lambda: elector.status().stream == "absent" and lines(log))
    server.wait_gets(3)
    assert lines(log) == [
        ("INFO", "no event stream at this address: HTTP 404 to the stream's GET; polling only")
    ]


# --- threads ------------------------------------------------------------------------------


def elector_threads() -> list[Any]:
    return [t for t in threading.enumerate() if t.name.startswith("elector-")]


def test_three_daemon_threads_with_names_and_none_after_stop(
    server: ScriptedServer, make_elector: MakeElector
) -> None:
    before = set(elector_threads())
    elector = make_elector().start()
    mine = [thread for thread in elector_threads() if thread not in before]
    assert sorted(t.name for t in mine) == ["elector-dispatch", "elector-poll", "elector-stream"]
    assert all(thread.daemon for thread in mine)
    assert elector.start() is elector
    assert len([t for t in elector_threads() if t not in before]) == 3
    assert elector.stop()
    until(lambda: not any(thread.is_alive() for thread in mine))


def test_an_unforeseen_error_in_a_thread_is_loud_and_not_the_end(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    server.leader = "pod-a"
    broken = {"poll": threading.Event(), "stream": threading.Event()}

    def bug(name: str) -> None:
        broken[name].set()
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("elector_thread._runtime.poll.take_answer", lambda *_: bug("poll"))
        patched.setattr("elector_thread._runtime.stream.parse_leader", lambda *_: bug("stream"))
        elector = make_elector().start()
        assert broken["poll"].wait(PATIENCE)
        assert broken["stream"].wait(PATIENCE)
    until(lambda: [level for level, _ in lines(log)].count("CRITICAL") == 2)
    eventually(elector, State.LEADER)


def test_the_same_unforeseen_error_is_told_once(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    rounds = threading.Semaphore(0)

    def bug(*_: object) -> None:
        rounds.release()
        raise ZeroDivisionError

    monkeypatch.setattr("elector_thread._sidecar.calls.SidecarClient.ask", bug)
    elector = make_elector(get_url=server.get_url, poll_interval=0.01).start()
    for _ in range(3):
        assert rounds.acquire(timeout=PATIENCE)
    assert elector.stop()
    assert [level for level, _ in lines(log)] == ["CRITICAL"]
    assert elector.status().last_error == "unexpected ZeroDivisionError in elector-poll"


@pytest.mark.parametrize("exchange", ["ask", "open_stream"])
def test_what_a_library_raises_where_stop_cut_its_exchange_is_nobodys_concern(
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    exchange: str,
) -> None:
    under_way = threading.Event()

    def cut(client: SidecarClient, *_: object) -> None:
        under_way.set()
        until(lambda: client.cancelled, "the stop")
        raise ZeroDivisionError

    monkeypatch.setattr(SidecarClient, exchange, cut)
    elector = make_elector().start()
    assert under_way.wait(PATIENCE)
    assert elector.stop()
    assert [level for level, _ in lines(log) if level != "INFO"] == []


def test_a_log_line_carries_what_it_says_as_fields(
    server: ScriptedServer, make_elector: MakeElector, log: pytest.LogCaptureFixture
) -> None:
    server.leader = "pod-a"
    elector = make_elector().start()
    until(lambda: log.records)
    elector.stop()
    begins, ends = (
        {name: value for name, value in vars(record).items() if name.startswith("elector_")}
        for record in log.records
    )
    assert begins == {
        "elector_event": "leader",
        "elector_identity": "pod-a",
        "elector_leader": "pod-a",
        "elector_leadership": 1,
    }
    assert ends == {
        "elector_event": "no_longer_leader",
        "elector_identity": "pod-a",
        "elector_leader": None,
        "elector_leadership": 1,
        "elector_reason": "stopped",
    }

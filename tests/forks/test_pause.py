"""A paused process: on waking it is not the leader for what it heard before the pause."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from elector_thread._sidecar.transport import Transport
from elector_thread._state.clock import now
from tests.polling import until
from tests.scripted import Connection, ScriptedServer, chunk, event

PROCESS = """
import json, socket, sys, time
from elector_thread import Elector

read = socket.socket.recv_into
pauses = []

def read_slowly(sock, buffer, *args):  # from the first slow-motion comment on
    count = read(sock, buffer, *args)
    if b"slow motion" in bytes(buffer[:count]):
        pauses.append(0.3)
    time.sleep(sum(pauses[:1]))
    return count

socket.socket.recv_into = read_slowly
settings = json.loads(sys.argv[1])
elector = Elector(identity="pod-a", **settings).start()
while sys.stdin.readline():
    is_leader = elector.is_leader  # before anything else could run
    status = elector.status()
    seen = {"is_leader": is_leader, "leader": status.leader, "stream": status.stream}
    print(json.dumps({**seen, **status.counts._asdict()}), flush=True)
"""


class Paused:
    """A process with an elector, which a test stops and continues."""

    def __init__(self, **settings: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> None:
        """Have it look at its elector."""
        assert self._process.stdin is not None
        self._process.stdin.write("look\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it saw."""
        assert self._process.stdout is not None
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        return seen

    def look(self) -> dict[str, Any]:
        self.ask()
        return self.answer()

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def wake(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def process(server: ScriptedServer, **settings: float) -> Iterator[Paused]:
    """A process whose stream is open and whose GET was answered."""
    one = Paused(get_url=server.get_url, sse_url=server.sse_url, **settings)
    try:
        until(lambda: (seen := one.look())["events"] >= 1 and seen["answers"] >= 1)
        yield one
    finally:
        one.kill()


def hang(connection: Connection) -> None:
    connection.wait_gone()


def test_a_process_that_was_paused_for_longer_than_the_grace_reads_false_on_waking() -> None:
    intervals = {"poll_interval": 0.2, "reconcile_interval": 0.2, "request_timeout": 0.2}
    with ScriptedServer("pod-a") as server, process(server, grace_period=1.0, **intervals) as one:
        until(lambda: one.look()["is_leader"])
        one.pause()
        server.close()  # so that nothing confirms it on waking
        one.ask()
        time.sleep(1.2)  # the pause itself: longer than the grace period
        one.wake()
        assert one.answer()["is_leader"] is False


@pytest.mark.parametrize("backlog", ["in one piece", "in several pieces"])
def test_a_leadership_that_came_and_went_during_a_long_pause_is_not_taken_up(backlog: str) -> None:
    """GET is not answered on waking, so that the old news is all that the process hears."""
    intervals = {"poll_interval": 0.3, "reconcile_interval": 0.3, "request_timeout": 0.3}
    with ScriptedServer("pod-b") as server, process(server, grace_period=1.0, **intervals) as one:
        one.pause()
        server.on_get = hang
        if backlog == "in several pieces":
            server.send_to_streams(chunk(b": slow motion\n\n" + b": \n" * 15_000))
        server.push("pod-a")
        time.sleep(1.2)  # the pause itself: longer than the grace period
        server.push("pod-b")
        one.wake()
        seen = until(lambda: (seen := one.look())["events"] >= 3 and seen, "the backlog to be read")
        assert (seen["elected"], seen["is_leader"]) == (0, False)


def test_news_from_a_pause_counts_from_before_the_pause() -> None:
    """The pause is shorter than the interval of GET, so the process cannot tell it by that."""
    settings = {"poll_interval": 2.1, "reconcile_interval": 2.1, "request_timeout": 0.4}
    with ScriptedServer("pod-b") as server, process(server, grace_period=2.6, **settings) as one:
        one.pause()
        server.on_get = hang
        server.push("pod-a")
        sent = now()
        time.sleep(1.8)  # the pause itself: shorter than the interval
        one.wake()
        until(lambda: one.look()["events"] >= 2, "the news to be read")
        until(lambda: now() > sent + 3.2, "the grace period to end")
        assert one.look()["is_leader"] is False


def test_news_after_a_pause_and_after_the_first_answer_counts_at_once() -> None:
    """It may have been in the socket since before that answer, but it was not."""
    intervals = {"poll_interval": 1.0, "reconcile_interval": 1.0, "request_timeout": 1.0}
    with ScriptedServer("pod-a") as server, process(server, grace_period=60.0, **intervals) as one:
        one.pause()
        time.sleep(1.5)  # the pause itself: so that GET is due
        answers = server.gets
        one.wake()
        until(lambda: one.look()["answers"] > answers)
        server.on_get = hang
        server.push("pod-b")
        until(lambda: one.look()["leader"] == "pod-b")


def test_news_is_confirmed_by_get_at_once_after_a_pause() -> None:
    with ScriptedServer("pod-a") as server, process(server, grace_period=60.0) as one:
        one.pause()
        server.leader = "pod-b"
        server.send_to_streams(chunk(event("pod-c")))
        one.wake()
        until(lambda: one.look()["leader"] == "pod-b", "GET to be asked long before its interval")


class Decrypted:
    """Stands in for a TLS socket: it takes a whole record from the socket, but returns half."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def pending(self) -> int:
        return len(self._rest)

    def recv_into(self, buffer: bytearray) -> int:
        record = self._rest or self._sock.recv(100)
        data, self._rest = record[: len(buffer)], record[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def test_news_that_tls_has_decrypted_before_a_pause_counts_from_before_the_pause() -> None:
    """The socket is empty during the pause, but the news came in before it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Transport()
        transport._add_switch(ours)
        decrypted = Decrypted(ours)
        transport.reads_from(decrypted)  # type: ignore[arg-type]  # has what a socket needs here
        transport.begin(10.0)
        transport.lift_deadline()
        theirs.sendall(b"old news")
        assert transport.receive_into(decrypted, bytearray(4)) == 4
        came_in_after = transport.received_after
        transport.note_if_empty(now())
        assert transport.empty_at > came_in_after
        assert transport.receive_into(decrypted, bytearray(4)) == 4
        assert transport.received_after == came_in_after
        transport.cancel()

"""From an event on the wire to `is_leader`, and to the first line of ``on_elected``.

This process is the raw-socket server. Three others listen: a bare ``recv`` loop, sseclient-py
reading through `normalise` (no more than that: what any client of this kind pays), and the
library. They take turns. Clocks are CLOCK_MONOTONIC, which processes share: the server
reads it right before each send, the listener when it knows.

The server keeps to one core and the listeners to another, so that neither waits for the
other to make room. Twice: on a machine that is awake, where the server spins between two
events, and on one that idles for milliseconds in between, so that all that is touched is cold.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from statistics import median

from .server import OTHER, RawElector, event
from .table import Row

__all__ = ["measure"]

ME = "me"
TURNS = 20  # of each listener
EVENTS = 25  # in a turn
UNCOUNTED = 3  # of them: the one before was somebody else's
AWAKE = 0.0003  # seconds between events at least
IDLE = 0.002


class Listener:
    """A listening process and its stream, as the server sees them."""

    def __init__(self, kind: str) -> None:
        streams: queue.Queue[socket.socket] = queue.Queue()
        done = threading.Event()

        def keep(peer: socket.socket) -> None:
            streams.put(peer)
            done.wait()

        self._done = done
        self._elector = RawElector(b"{}", keep)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.latency", kind, str(self._elector.port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._peer = streams.get(timeout=20)

    def turn(self, pause: Callable[[], None]) -> list[list[float]]:
        """Some elections: for each, the microseconds from the send to the listener's stamps."""
        return [self._election(pause) for _ in range(EVENTS)][UNCOUNTED:]

    def _election(self, pause: Callable[[], None]) -> list[float]:
        pause()
        sent = self._send(ME)
        stamps = [(stamp - sent) * 1e6 for stamp in self._stamps()]
        pause()
        self._send(OTHER)
        self._stamps()
        return stamps

    def _send(self, name: str) -> float:
        data = event(name)
        sent = time.monotonic()
        self._peer.sendall(data)
        return sent

    def _stamps(self) -> list[float]:
        assert self._process.stdout is not None
        return [float(stamp) for stamp in self._process.stdout.readline().split()]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._done.set()


def measure() -> list[Row]:
    listeners = {kind: Listener(kind) for kind in ("bare", "sseclient", "elector")}
    cores = _keep_to(0)
    try:
        awake = _elections(listeners, _stay_awake)
        idle = _elections(listeners, lambda: time.sleep(IDLE * random.uniform(1, 2)))
    finally:
        for listener in listeners.values():
            listener.close()
        _keep_to(*cores)
    return [*_rows(awake, "awake"), *_rows(idle, "idle")]


def _keep_to(*wanted: int) -> tuple[int, ...]:
    """Run on these cores from now on, as far as there are such; those we ran on before."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    before = os.sched_getaffinity(0)
    if allowed := set(wanted) & set(range(os.cpu_count() or 1)):
        with contextlib.suppress(OSError):  # a container that has others only
            os.sched_setaffinity(0, allowed)
    return tuple(before)


def _stay_awake() -> None:
    until = time.monotonic() + AWAKE * random.uniform(1, 2)
    while time.monotonic() < until:
        pass


def _elections(
    listeners: dict[str, Listener], pause: Callable[[], None]
) -> dict[str, list[list[float]]]:
    elections: dict[str, list[list[float]]] = {kind: [] for kind in listeners}
    for _ in range(TURNS):
        for kind, listener in listeners.items():
            elections[kind] += listener.turn(pause)
    return elections


def _rows(elections: dict[str, list[list[float]]], machine: str) -> list[Row]:
    yardstick = median(bare for (bare,) in elections["bare"])
    shown = f"{yardstick:.0f} us"

    def row(what: str, value: float, bound: float | None) -> Row:
        what = f"event to {what}, machine {machine}, vs socket.recv"
        return Row(what, f"{value:.0f} us", shown, value / yardstick, "x", bound)

    return [
        row("sseclient alone", median(heard for (heard,) in elections["sseclient"]), None),
        row("is_leader", median(known for known, _ in elections["elector"]), 2),
        row("on_elected", median(begun for _, begun in elections["elector"]), 3.5),
    ]


# --- the listening processes --------------------------------------------------------------


def _listen_bare(port: int) -> None:
    """The yardstick: a thread that receives and looks for the name."""
    import elector_thread  # noqa: F401 - the same kind of process

    def run() -> None:
        with socket.create_connection(("127.0.0.1", port)) as stream:
            stream.sendall(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
            stream.recv(8192)
            while data := stream.recv(8192):
                found = b'"me"' in data
                print(time.monotonic() if found else "", flush=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def _listen_by_sseclient(port: int) -> None:
    """For comparison: a thread that reads whole events, and looks for the name."""
    import requests
    from sseclient import SSEClient

    from elector_thread._sidecar.events import normalise

    def run() -> None:
        response = requests.get(f"http://127.0.0.1:{port}/sse", stream=True)
        for one in SSEClient(normalise(response.raw.read1)).events():
            found = '"me"' in one.data
            print(time.monotonic() if found else "", flush=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def _listen(port: int) -> None:
    """The library: stamps when the state has flipped, and in the first line of the callback."""
    from elector_thread import Elector
    from elector_thread._state.store import Store

    base = f"http://127.0.0.1:{port}/"
    intervals = {"poll_interval": 300, "reconcile_interval": 300, "grace_period": 1000}
    elector = Elector(get_url=base, sse_url=f"{base}sse", identity=ME, **intervals)
    known = 0.0

    def assign(store: Store, name: str, value: object) -> None:
        nonlocal known
        object.__setattr__(store, name, value)
        if name == "snapshot" and store.snapshot.lead_until > 0:
            known = time.monotonic()  # after the one assignment with which the state flips

    Store.__setattr__ = assign  # type: ignore[method-assign,assignment]  # to see that assignment

    def elected() -> None:
        began = time.monotonic()
        print(known, began, flush=True)

    elector.on_elected(elected)
    elector.on_demoted(lambda: print(flush=True))
    elector.start()
    threading.Event().wait()


if __name__ == "__main__":
    _keep_to(1)
    listen = {"bare": _listen_bare, "sseclient": _listen_by_sseclient, "elector": _listen}
    listen[sys.argv[1]](int(sys.argv[2]))

"""What ``verify="lease"`` costs: requests, connections, and time until ``on_elected``.

Two processes listen, with verification and without, and take turns as in `latency`. The Lease
is read over plain HTTP on loopback; the one that verifies says how long each reading took.
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
import time
from statistics import median

from .server import LEASE_PATH, OTHER, RawElector, event, lease
from .table import Row

__all__ = ["measure"]

ME = "me"
INTERVALS = 10
RECONCILE = 0.3  # seconds
TURNS = 10
EVENTS = 25  # in a turn
UNCOUNTED = 3  # of them
PAUSE = 0.01  # seconds before each event: at most two readings in a poll_interval
SETTINGS = {"reconcile_interval": 300, "grace_period": 1000, "poll_interval": PAUSE}


class Listener:
    """A process with an elector, and its stream as the server sees it."""

    def __init__(self, verify: str, **settings: float) -> None:
        streams: queue.Queue[socket.socket] = queue.Queue()
        self._done = threading.Event()

        def keep(peer: socket.socket) -> None:
            streams.put(peer)
            self._done.wait()

        self.server = RawElector(b"{}", keep, lease(ME))
        command = [sys.executable, "-m", "benchmarks.verification", verify]
        command += [str(self.server.port), repr({**SETTINGS, **settings})]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._peer = streams.get(timeout=20)

    def elect(self) -> tuple[float, float]:
        """Seconds from the event to ``on_elected``, and those of the Lease's GET among them."""
        time.sleep(PAUSE)
        sent = time.monotonic()
        self._peer.sendall(event(ME))
        elected, reading = self._line()
        return elected - sent, reading

    def depose(self) -> None:
        """Name another leader."""
        time.sleep(PAUSE)
        self._peer.sendall(event(OTHER))
        self._line()

    def turn(self) -> list[tuple[float, float]]:
        """Some elections."""
        found = []
        for _ in range(EVENTS):
            found.append(self.elect())
            self.depose()
        return found[UNCOUNTED:]

    def _line(self) -> tuple[float, float]:
        assert self._process.stdout is not None
        first, second = map(float, self._process.stdout.readline().split())
        return first, second

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._done.set()


def measure() -> list[Row]:
    return [*_requests(), _elections()]


def _requests() -> list[Row]:
    listener = Listener("lease", reconcile_interval=RECONCILE)
    try:
        listener.elect()
        time.sleep(INTERVALS * RECONCILE)
        gets = list(listener.server.lease_gets)
    finally:
        listener.close()
    spell, connections = f"{INTERVALS} intervals", len(set(gets))
    return [
        Row("Lease GETs of a leader, by reconcile_interval", str(len(gets)), spell,
            len(gets), "", INTERVALS + 1),
        Row("their connections", str(connections), spell, connections, "", 1),
    ]  # fmt: skip


def _elections() -> Row:
    plain, verifying = listeners = [Listener("none"), Listener("lease")]
    try:
        without, verified = [], []
        for _ in range(TURNS):
            without += plain.turn()
            verified += verifying.turn()
    finally:
        for listener in listeners:
            listener.close()
    reading = median(seconds for _, seconds in verified)
    expected = median(seconds for seconds, _ in without) + reading
    needed = median(seconds for seconds, _ in verified)
    what = 'event to on_elected with verify="lease", vs without plus one Lease GET'
    return Row(what, _us(needed), _us(expected), needed / expected, "x", 1.5)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"


# --- the listening process --------------------------------------------------------------------


def _listen(verify: str, port: str, settings: dict[str, float]) -> None:
    from elector_thread import Elector
    from elector_thread._sidecar.lease import LeaseClient
    from elector_thread._state.model import LeaseReading

    base = f"http://127.0.0.1:{port}"
    os.environ["ELECTOR_THREAD_LEASE_URL"] = base + LEASE_PATH
    os.environ["ELECTOR_THREAD_VERIFY"] = verify
    read, took = LeaseClient.read, 0.0

    def timed(client: LeaseClient) -> LeaseReading:
        nonlocal took
        began = time.monotonic()
        reading = read(client)
        took = time.monotonic() - began
        return reading

    LeaseClient.read = timed  # type: ignore[method-assign]  # to know how long it takes
    elector = Elector(get_url=f"{base}/", sse_url=f"{base}/sse", identity=ME, **settings)  # type: ignore[arg-type]  # all are numbers

    def elected() -> None:
        instant = time.monotonic()
        print(instant, took, flush=True)

    elector.on_elected(elected)
    elector.on_demoted(lambda: print(0, 0, flush=True))
    elector.start()
    threading.Event().wait()


if __name__ == "__main__":
    import ast

    _listen(sys.argv[1], sys.argv[2], ast.literal_eval(sys.argv[3]))

"""From an event on the wire to `is_leader`, and to the first line of ``on_elected``.

This process is the raw-socket server; two others listen: one by the library, one by
a bare ``recv`` loop. They take turns. Clocks are CLOCK_MONOTONIC, which processes share:
the server reads it right before each send, the listener when it knows.
"""

from __future__ import annotations

import queue
import random
import socket
import subprocess
import sys
import threading
import time
from statistics import median

from .server import OTHER, RawElector, event
from .table import Row

__all__ = ["measure"]

ME = "me"
ROUNDS = 400
WARM_UP = 50
PAUSE = 0.002  # seconds between events at least, so that the listener sleeps again


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

    def round(self) -> list[float]:
        """One election: the microseconds from the send to each of the listener's stamps."""
        sent = self._send(ME)
        stamps = [(stamp - sent) * 1e6 for stamp in self._stamps()]
        self._send(OTHER)
        self._stamps()
        return stamps

    def _send(self, name: str) -> float:
        time.sleep(PAUSE * random.uniform(1, 2))
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
    bare, ours = Listener("bare"), Listener("elector")
    try:
        pairs = [(bare.round(), ours.round()) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    finally:
        bare.close()
        ours.close()
    yardstick = median(known[0] for known, _ in pairs)
    rows = []
    for index, what, bound in ((0, "is_leader", 2), (1, "the first line of on_elected", 5)):
        value = median(stamps[index] for _, stamps in pairs)
        what = f"event on the wire to {what}, vs socket.recv"
        shown = (f"{value:.0f} us", f"{yardstick:.0f} us")
        rows.append(Row(what, *shown, value / yardstick, "x", bound))
    return rows


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


def _listen(port: int) -> None:
    """The library: stamps when the state has flipped, and in the first line of the callback."""
    from elector_thread import Elector
    from elector_thread.cell import Cell
    from elector_thread.model import Snapshot

    base = f"http://127.0.0.1:{port}/"
    intervals = {"poll_interval": 300, "reconcile_interval": 300, "grace_period": 1000}
    elector = Elector(get_url=base, sse_url=f"{base}sse", identity=ME, **intervals)
    known = 0.0

    def replaced(cell: Cell, snapshot: Snapshot) -> None:
        nonlocal known
        vars(cell)["snapshot"] = snapshot
        if snapshot.lead_until > 0:
            known = time.monotonic()

    # a data descriptor: sees the one assignment with which the state flips
    Cell.snapshot = property(lambda cell: vars(cell)["snapshot"], replaced)  # type: ignore[assignment]

    def elected() -> None:
        began = time.monotonic()
        print(known, began, flush=True)

    elector.on_elected(elected)
    elector.on_demoted(lambda: print(flush=True))
    elector.start()
    threading.Event().wait()


if __name__ == "__main__":
    {"bare": _listen_bare, "elector": _listen}[sys.argv[1]](int(sys.argv[2]))

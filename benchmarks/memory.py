"""Resident memory: above the dependencies imported alone, and while 100,000 events come in.

The measured processes import nothing else; this one is their elector.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from statistics import median

from .server import OTHER, RawElector, body, event
from .table import Row

__all__ = ["measure"]

ME = "me"
PAIRS = 7
WARM_UP = 10_000
EVENTS = 100_000
BATCH = 100

RESIDENT = """
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
"""

DEPENDENCIES = f"""
import requests, sseclient, tenacity
{RESIDENT}
print(resident())
"""

RUNNING = f"""
import json, sys, time
from elector_thread import Elector
{RESIDENT}
elector = Elector(**json.loads(sys.argv[1]))
elector.on_elected(lambda: None)
elector.on_demoted(lambda: None)
elector.start()
elector.wait_until_known(10)
for events in map(int, sys.argv[2:]):
    while elector.status().counts.events < events:
        time.sleep(0.01)
    print(resident())
"""


def measure() -> list[Row]:
    if not Path("/proc/self/status").exists():
        print("memory: needs /proc, skipped", file=sys.stderr)
        return []
    pairs = [(_running(1)[0], _run(DEPENDENCIES)[0]) for _ in range(PAIRS)]
    ours, theirs = (median(pair[i] for pair in pairs) for i in (0, 1))
    above = median(a - b for a, b in pairs)
    before, after = _running(WARM_UP, WARM_UP + EVENTS)
    return [
        Row(
            "resident memory while running, vs dependencies imported",
            f"{ours:.1f} MB",
            f"{theirs:.1f} MB",
            above,
            " MB",
            3,
        ),
        Row(
            f"its growth over {EVENTS:,} events",
            f"{after:.1f} MB",
            f"{before:.1f} MB before",
            after - before,
            " MB",
            0.5,
        ),
    ]


def _running(*at_events: int) -> list[float]:
    """Megabytes of a process that runs an elector, each time so many events have come in."""

    def tell(peer: socket.socket) -> None:
        batch = event(OTHER) + event(ME)
        for _ in range(max(1, at_events[-1] // BATCH)):
            peer.sendall(batch * (BATCH // 2))
        threading.Event().wait()

    settings = {**RawElector(body(ME), tell).urls, "identity": ME}
    return _run(RUNNING, json.dumps(settings), *map(str, at_events))


def _run(script: str, *arguments: str) -> list[float]:
    command = [sys.executable, "-c", script, *arguments]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(figure) for figure in run.stdout.split()]

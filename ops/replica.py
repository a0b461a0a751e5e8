"""A replica for rehearse.py: an application with metrics, a job every second, and a callback."""

from __future__ import annotations

import os
import signal
import threading
import time

from prometheus_client import start_http_server

import elector_thread
from elector_thread.instrumentation import prometheus

stopping = threading.Event()


@elector_thread.only_on_leader(interval=1)
def tick() -> None:
    """The work that only the leader does."""


@elector_thread.on_elected
def warm_up() -> None:
    """Take as long as reading a cache."""
    time.sleep(0.05)


def main() -> None:
    """Serve the metrics, and work until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    prometheus.instrument()
    elector = elector_thread.default_elector()
    elector.start()
    start_http_server(int(os.environ["PORT"]), addr="127.0.0.1")
    print(f"metrics on port {os.environ['PORT']}")
    while not stopping.wait(1):
        tick()
    elector.stop()

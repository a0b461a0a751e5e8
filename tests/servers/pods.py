"""A server under test, run in a process group of its own, as in a pod."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.forks.children import client_inodes, own_socket_inodes
from tests.polling import until

from .turnstile import Turnstile

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START = 60.0
"""Seconds after which a server that has not started hangs; many start at once."""

HANG = 20.0
"""Seconds after which any other wait has failed.

gunicorn kills a worker that ignores SIGTERM after 30 seconds, uWSGI after 60: a server
that ends earlier was not held up by a worker that hangs.
"""


class Pod:
    """One server with its workers; `lines` holds what it prints, with the time of each line.

    `changed` protects `lines` and `ended`.
    """

    def __init__(self, name: str, command: list[str], port: int, elector_port: int) -> None:
        self.name = name
        self.port = port
        self.door = Turnstile(elector_port)
        self.changed = threading.Condition()
        self.lines: list[tuple[float, str]] = []
        self.ended = False
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ELECTOR_", "PYTEST_"))}
        self.process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=ROOT,
            env={**kept, **self.door.environ, "ELECTOR_THREAD_IDENTITY": "pod-a"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self.changed:
                    self.lines.append((time.monotonic(), line.rstrip()))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def wait_for(self, wanted: Callable[[], bool], within: float = HANG) -> bool:
        """Wait until ``wanted()`` is true; False if it is not in time, or the server has ended."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or wanted(), within)
            return wanted()

    def who_said(self, text: str, since: float = 0.0) -> dict[int, float]:
        """The processes that printed ``text`` after ``since``, each with the last time."""
        pattern = re.compile(rf"(?:^|\D)(\d+) {re.escape(text)}$")
        found = [(at, pattern.search(line)) for at, line in list(self.lines) if at >= since]
        return {int(match[1]): at for at, match in found if match}

    def ask_workers(self, count: int, within: float = HANG) -> dict[int, dict[str, Any]]:
        """Send requests until ``count`` processes have answered; the answers by process.

        Any worker may take a request. One that has answered has finished its own start.
        """
        answers: dict[int, dict[str, Any]] = {}

        def enough() -> bool:
            if answer := self._answer():
                answers[answer["pid"]] = answer
            return len(answers) >= count or self.ended

        with contextlib.suppress(AssertionError):  # the tests report what is missing
            until(enough, within=within)
        return answers

    def _answer(self) -> dict[str, Any]:
        """One answer; empty while there is none."""
        found: dict[str, Any] = {}
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=HANG) as response,
        ):
            found = json.load(response)
        return found

    def pids(self) -> list[int]:
        """Every live process of the pod."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append(int(folder.name))
        return found

    def connected_pids(self) -> set[int]:
        """The processes that hold a connection to the elector."""
        clients = client_inodes(self.door.port)
        return {pid for pid in self.pids() if own_socket_inodes(pid) & clients}

    def terminate(self) -> float:
        """Send SIGTERM; return the seconds until the server ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(HANG)
        took = time.monotonic() - began
        self._reader.join(HANG)  # the pipe ends with the last process that holds it
        return took

    def kill(self) -> None:
        """End every process that is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.door.__exit__()

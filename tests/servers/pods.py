"""A server under test, as the platform would run it: one process group, one pod."""

from __future__ import annotations

import contextlib
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
PATIENCE = 40.0
"""Seconds for a whole batch of servers to start on a busy machine."""


class Pod:
    """One server with its workers; what it prints is kept, line by line, with the instant.

    `changed` protects `lines`.
    """

    def __init__(self, name: str, command: list[str], port: int, elector_port: int) -> None:
        self.name = name
        self.port = port
        self.door = Turnstile(elector_port)
        self.changed = threading.Condition()
        self.lines: list[tuple[float, str]] = []
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

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def wait_for(self, wanted: Callable[[], bool], within: float = PATIENCE) -> bool:
        with self.changed:
            return self.changed.wait_for(wanted, within)

    def who_said(self, text: str, since: float = 0.0) -> dict[int, float]:
        """The processes that printed ``text`` after ``since``, and when they did so last."""
        pattern = re.compile(rf"(?:^|\D)(\d+) {re.escape(text)}$")
        found = [(at, pattern.search(line)) for at, line in list(self.lines) if at >= since]
        return {int(match[1]): at for at, match in found if match}

    def ask(self) -> dict[str, Any]:
        """The app's own answer over HTTP, from whichever worker takes it.

        Waits until there is one: a worker may lead before it listens.
        """
        return until(self._answer, f"an answer at port {self.port}")

    def _answer(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as response,
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
        """SIGTERM; the seconds until the server and all of its workers were gone."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        took = time.monotonic() - began
        self._reader.join(10)  # the pipe ends with the last process that holds it
        return took

    def kill(self) -> None:
        """Whatever is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.door.__exit__()

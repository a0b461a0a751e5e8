"""One replica of an example app: its process, its output and its HTTP answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from elector_thread.local import LocalElector

from ..polling import until

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 15.0
"""Seconds after which a wait in a test is a failure."""

SWITCH = 10.0
"""Seconds within which an app must see a switch; without the stream it takes up to 15."""

TERM = 20.0
"""Seconds after which a process that was sent SIGTERM hangs."""


def streams(local: LocalElector) -> int:
    """How many event streams are open at the elector."""
    count: int = local.state()["streams"]
    return count


def wait_streams(local: LocalElector, count: int) -> None:
    until(lambda: streams(local) == count, f"{count} streams at the elector, not {streams(local)}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def environment(*sources: Mapping[str, str], identity: str = "pod-a") -> dict[str, str]:
    env = {**os.environ, "ELECTOR_THREAD_IDENTITY": identity}
    for source in sources:
        env.update(source)
    return env


class Replica:
    """A process that runs during the ``with`` block; SIGTERM must end it in time.

    With ``kill``, SIGKILL ends it instead, for tests of something else than a slow end.

    `changed` protects `lines` and `ended`, which the reader thread sets.
    """

    def __init__(
        self,
        *command: str,
        env: Mapping[str, str],
        port: int = 0,
        cwd: Path = EXAMPLES,
        kill: bool = False,
    ) -> None:
        self._kill = kill
        self.port = port
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_line(self, text: str, *, count: int = 1, within: float = PATIENCE) -> None:
        """Wait until ``text`` was printed ``count`` times."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: self.ended or self.printed(text) >= count, within
            ) and (self.printed(text) >= count)
        assert found, f"expected {text!r} ×{count} within {within:g} s, got:\n{self.output}"

    def printed(self, text: str) -> int:
        return sum(text in line for line in self.lines)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def get(self, path: str = "/", method: str = "GET") -> tuple[int, Any]:
        """Return the status code and the JSON; retry until the server listens."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                return self._get(path, method)
            except (urllib.error.URLError, ConnectionError):
                assert not self.ended, f"the server has ended:\n{self.output}"
                assert time.monotonic() < give_up, f"nothing listens:\n{self.output}"
                time.sleep(0.05)

    def _get(self, path: str, method: str) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def wait_leader(self, leader: str, is_leader: bool) -> None:
        """Wait until the app reports this leader and role."""

        def told() -> bool:
            answer = self.get()[1]
            return (answer["leader"], answer["is_leader"]) == (leader, is_leader)

        until(told, f"the app to report {leader} as the leader", SWITCH)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def terminate(self) -> None:
        """Send SIGTERM, and wait for the end for at most `TERM` seconds."""
        self.process.terminate()
        self.process.wait(TERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self._kill:
                self.terminate()
        finally:
            if self.process.poll() is None or not self.ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)  # its children, too
            self.process.wait(PATIENCE)
            self._reader.join(PATIENCE)
            assert self.process.stdout is not None
            self.process.stdout.close()

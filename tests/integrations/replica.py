"""One replica of an example app: a real process, its output, its HTTP answers."""

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

SWITCH = 3.0
"""Seconds in which a switch must be seen: only the stream is that fast."""

TERM = 3.0
"""Seconds that a process may take to end on SIGTERM."""


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
    env.pop("PYTHONUNBUFFERED", None)  # it tears a printed line from its end; they flush themselves
    for source in sources:
        env.update(source)
    return env


class Replica:
    """A process for as long as the ``with`` block lasts; SIGTERM must end it in time.

    kill: end it with SIGKILL instead, where the end is slow and not what is tested.

    `changed` guards `lines`, which a thread of ours appends to.
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
        """The answer's code and JSON; tries again while nothing listens."""
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
        """Wait until the app's page tells so."""

        def told() -> bool:
            answer = self.get()[1]
            return (answer["leader"], answer["is_leader"]) == (leader, is_leader)

        until(told, f"the page to say that {leader} leads", SWITCH)

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
        """SIGTERM, and no more than `TERM` seconds to end."""
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

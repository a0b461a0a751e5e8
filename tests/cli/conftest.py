"""A local elector, and the command line as real processes that use it."""

from __future__ import annotations

import json
import os
import pty
import select
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Condition, Event, Thread
from typing import IO, Self

import pytest

from elector_thread.cli import main
from elector_thread.integrations import _environment
from elector_thread.local import LocalElector

from ..scripted import ScriptedServer

PATIENCE = 15.0
"""Seconds for each event that a test waits for."""

GRACE = 1.0
"""Seconds for processes that still run at the end of a test."""

US, OTHER = "pod-a", "pod-b"

QUICK = {
    "ELECTOR_THREAD_IDENTITY": US,
    "ELECTOR_THREAD_POLL_INTERVAL": "0.2",
    "ELECTOR_THREAD_RECONCILE_INTERVAL": "0.2",
    "ELECTOR_THREAD_REQUEST_TIMEOUT": "2",
    "ELECTOR_THREAD_GRACE_PERIOD": "20",
}


class Running:
    """One process of the command line, and the lines that it prints."""

    def __init__(self, command: list[str], env: dict[str, str], **options: object) -> None:
        self.lines: list[str] = []
        self._more = Condition()  # protects `lines` and `_ended`
        self._ended = False
        self._stop_reading = Event()
        merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, env=env, **{**merged, **options})  # type: ignore[call-overload]  # whatever a test needs
        self.pid: int = self.process.pid
        if self.process.stdout is not None:
            self._reader = Thread(target=self._read, args=(self.process.stdout,), daemon=True)
            self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not self._stop_reading.is_set():
                if not selector.select(0.05):
                    continue
                part = os.read(stream.fileno(), 4096)
                if not part:
                    break
                *lines, rest = (rest + part).split(b"\n")
                with self._more:
                    self.lines += [line.decode() for line in lines]
                    self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def expect(self, text: str, *, count: int = 1) -> str:
        """Wait for the ``count``-th line with ``text``; the line."""
        with self._more:
            self._more.wait_for(
                lambda: self._ended or len(self._with(text)) >= count, timeout=PATIENCE
            )
            found = self._with(text)
        assert len(found) >= count, f"expected {count} × {text!r}, got {self.lines}"
        return found[count - 1]

    def _with(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait until it ends by itself; the exit code."""
        code: int = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self._reader.join(PATIENCE)
        return code

    def close_output(self) -> None:
        """Stop reading and close the pipe."""
        assert self.process.stdout is not None
        self._stop_reading.set()
        self._reader.join(PATIENCE)
        self.process.stdout.close()

    def kill(self) -> None:
        """End it with SIGTERM, and with SIGKILL after `GRACE`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
            self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self._reader.join(PATIENCE)
            self.process.stdout.close()


class Terminal:
    """The command line on a terminal of its own; everything on it is in `seen`."""

    LOGIN = "import os, sys; os.login_tty(0); os.execv(sys.executable, sys.argv[1:])"

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self.seen = b""
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "elector_thread", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.LOGIN, *command], env=env, stdin=theirs
        )
        os.close(theirs)

    def expect(self, text: bytes) -> None:
        """Read until ``text`` is there."""
        while text not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], PATIENCE)
            assert ready, f"expected {text!r}, got {self.seen!r}"
            assert self._read(), f"expected {text!r}, got {self.seen!r}"

    def write(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        """Read on to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        try:
            part = os.read(self._ours, 4096)
        except OSError:  # EIO: all other ends are closed
            return False
        self.seen += part
        return bool(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self._ours)


def environment(**more: str) -> dict[str, str]:
    """Our environment without variables about electors, colours, workers and proxies."""
    unwanted = ("ELECTOR_", "NO_COLOR", "FORCE_COLOR", "WEB_CONCURRENCY", "HOSTNAME")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(unwanted) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONWARNINGS": "error", **more}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalElector]:
    with LocalElector() as elector:
        yield elector


@pytest.fixture
def spawn(local: LocalElector) -> Iterator[Callable[..., Running]]:
    """``spawn(*arguments, env={…}, **popen_options)``: a command beside the local elector."""
    started: list[Running] = []

    def spawn(*arguments: str, env: dict[str, str] | None = None, **options: object) -> Running:
        command = [sys.executable, "-m", "elector_thread", *arguments]
        settings = environment(**{**local.environ, **QUICK, **(env or {})})
        running = Running(command, settings, **options)
        started.append(running)
        return running

    yield spawn
    for running in started:
        running.kill()


@pytest.fixture
def beside(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The scripted server, as this process's elector; this process is pod-a."""
    unwanted = [
        name
        for name in os.environ
        if name.lower().endswith("_proxy") or name.startswith("KUBERNETES_")
    ]
    for name in (*_environment.WORKER_VARIABLES, "GUNICORN_CMD_ARGS", *unwanted):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", US)
    monkeypatch.setenv("HOSTNAME", US)
    monkeypatch.setattr(_environment, "running_workers", lambda _: ())
    return server


def of_the_pod() -> dict[str, str]:
    """The variables about the elector that `beside` has set, for a process of its own."""
    return {name: os.environ[name] for name in os.environ if name.startswith("ELECTOR_")}


Examine = Callable[[], tuple[int, dict[str, list[tuple[str, str]]]]]


@pytest.fixture
def examine(beside: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> Examine:
    """Runs ``doctor --json``; returns its exit code, and the findings by level."""

    def examine() -> tuple[int, dict[str, list[tuple[str, str]]]]:
        code = main(["doctor", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (code == 0)
        levels: dict[str, list[tuple[str, str]]] = {"ok": [], "note": [], "problem": []}
        for finding in report["findings"]:
            text = f"{finding['message']} → {finding['remedy']}"
            levels[finding["level"]].append((finding["check"], text))
        return code, levels

    return examine

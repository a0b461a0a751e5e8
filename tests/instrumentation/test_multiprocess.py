"""Several processes that share files: gunicorn with four workers, as docs/metrics.md sets it up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.polling import until
from tests.processes import run_python, wait_gone
from tests.scripted import ScriptedServer

from .exposition import (
    ALIVE,
    ENDED,
    LEADERSHIPS,
    MASTER,
    STATE,
    Samples,
    fetch_from_files,
    scrape,
    scrape_files,
)
from .pages import blocks

WORKERS = 4
LEADING = "elector_thread_leading_seconds_total"
START = 60.0
"""Seconds after which a server that has not started hangs."""

pytestmark = pytest.mark.timeout(180)


class Gunicorn:
    """The server of docs/metrics.md."""

    def __init__(self, server: ScriptedServer, folder: Path, *options: str) -> None:
        for name, code in blocks("metrics.md").items():
            (folder / name).write_text(code)
        self.files = folder / "files"
        self.files.mkdir()
        environ = {
            "ELECTOR_GET_URL": server.get_url,
            "ELECTOR_SSE_URL": server.sse_url,
            "ELECTOR_THREAD_IDENTITY": "pod-a",
            "ELECTOR_THREAD_POLL_INTERVAL": "0.2",
            "PROMETHEUS_MULTIPROC_DIR": str(self.files),
        }
        command = [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "app:application"]
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *options],
                cwd=folder,
                env={**os.environ, **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        listening = until(lambda: re.search(r"Listening at: (\S+)", self.log), within=START)
        self.url = listening[1]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def workers(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def wait_for(self, wanted: Samples) -> Samples:
        """Scrape until the values are as ``wanted``."""
        seen: list[Samples] = []

        def look() -> bool:
            seen.append(fetch_from_files(self.url))
            return seen[-1].items() >= wanted.items()

        until(look, f"{wanted}\n{self.log}", START)
        return seen[-1]

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(START)
        finally:
            self.process.kill()


@pytest.fixture(params=[[], ["--preload"]], ids=["each loads the app", "preload"])
def gunicorn(
    request: pytest.FixtureRequest, server: ScriptedServer, tmp_path: Path
) -> Iterator[Gunicorn]:
    server.leader = "pod-a"
    started = Gunicorn(server, tmp_path, *request.param)
    yield started
    started.end()


def test_four_workers_one_of_which_dies(gunicorn: Gunicorn, server: ScriptedServer) -> None:
    leading = {MASTER: 1.0, STATE % "leader": 4.0, STATE % "unknown": 0.0}
    alive = {ALIVE: 4.0}
    first = gunicorn.wait_for({**leading, **alive, LEADERSHIPS: 4.0})
    master_files = list(gunicorn.files.glob(f"*_{gunicorn.process.pid}.db"))
    assert not master_files

    victim = gunicorn.workers()[0]
    os.kill(victim, signal.SIGKILL)
    wait_gone(victim)
    later = gunicorn.wait_for({**leading, **alive, LEADERSHIPS: 5.0})  # four leaders, not five
    assert later[LEADING] >= first[LEADING] > 0
    assert len(set(gunicorn.workers())) == WORKERS + 1

    server.elect("pod-b")
    gunicorn.wait_for({MASTER: 0.0, STATE % "follower": 4.0, ENDED % "replaced": 4.0, **alive})
    assert "; continuing" not in gunicorn.log
    gunicorn.end()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(gunicorn.files))
    assert MASTER not in scrape(registry)  # nor is a dead process a leader


# --- forks ------------------------------------------------------------------------------------

FORK = """
import os, signal, threading, time, warnings
from prometheus_client import Counter, values
from elector_thread import Elector
from elector_thread.instrumentation import prometheus

warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which are the point
prometheus.instrument()
(writer,) = prometheus._writers
of_all_values = next(cell.cell_contents for cell in values.ValueClass.inc.__closure__
                     if isinstance(cell.cell_contents, type(threading.Lock())))
mine = Counter("mine", "The application's.")
writing, forking = threading.Event(), threading.Event()
os.register_at_fork(before=forking.set)  # the hook that was registered last runs first

def write():
    with writer._writing, of_all_values:
        writing.set()
        forking.wait()
        time.sleep(0.3)  # long enough for a fork that does not wait

with Elector(when_unconfigured="lead") as elector:
    assert elector.wait_until_leader(10)
    threading.Thread(target=write).start()
    writing.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        mine.inc()
        assert elector.wait_until_leader(10)
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    child = os.fork()
    if child == 0:
        mine.inc()
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
"""


def test_a_fork_waits_for_a_write_so_that_the_child_inherits_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    ended = run_python(FORK)
    assert (ended.exit_code, ended.err) == (0, "")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    found = scrape(registry)
    assert found["mine_total"] == 2
    states = sum(found[STATE % state] for state in ("leader", "follower", "unknown"))
    assert found[ALIVE] == states == 2  # the child that used no elector does not count


HANDLER = """
import threading
from prometheus_client import values
from elector_thread import Elector
from elector_thread.instrumentation import prometheus

prometheus.instrument()
of_all_values = next(cell.cell_contents for cell in values.ValueClass.inc.__closure__
                     if isinstance(cell.cell_contents, type(threading.Lock())))
elector = Elector(when_unconfigured="lead")
elected, demoted = threading.Event(), threading.Event()
elector.on_elected(elected.set)
elector.on_demoted(demoted.set)
elector.start()
assert elected.wait(30)  # only what was announced has an end to announce
with of_all_values:  # the handler has interrupted prometheus_client
    assert elector.stop(None)
    assert demoted.is_set()
"""


def test_a_stop_in_a_signal_handler_waits_for_no_lock_of_prometheus_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    ended = run_python(HANDLER)
    assert (ended.exit_code, ended.err) == (0, "")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    assert scrape(registry)[ENDED % "stopped"] == 1


CHILD = """
import os, sys, warnings
from elector_thread import Elector
from elector_thread.instrumentation import prometheus

warnings.simplefilter("ignore", DeprecationWarning)
prometheus.instrument()
prometheus.instrument()
elector = Elector(when_unconfigured="lead").start()
assert elector.wait_until_leader(10)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    assert elector.wait_until_leader(10)
    os.write(writer, b".")
    sys.stdin.read()
    os._exit(0)
os.read(reader, 1)
print(os.getpid(), child, flush=True)
sys.stdin.read()
elector.stop()
print("stopped", flush=True)
"""


def test_a_forked_child_writes_for_itself(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=Path(__file__).parents[2],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pids = process.stdout.readline().split()
        wanted = {STATE % "leader": 2.0, LEADERSHIPS: 2.0, ALIVE: 2.0}
        until(lambda: scrape_files(registry).items() >= wanted.items())
        assert all((tmp_path / f"counter_{pid}.db").exists() for pid in pids)
        process.stdin.close()
        assert process.stdout.readline() == "stopped\n"
    assert scrape(registry)[ENDED % "stopped"] == 1
    assert process.returncode == 0


SHORT_GRACE = """
import sys
from elector_thread import Elector
from elector_thread.instrumentation import prometheus

prometheus.instrument()
with Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a", poll_interval=0.1,
             reconcile_interval=0.2, request_timeout=0.5, grace_period=1.5):
    sys.stdin.read()
"""


def test_an_expiry_reaches_the_files(server: ScriptedServer, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    server.leader = "pod-a"
    with subprocess.Popen(
        [sys.executable, "-c", SHORT_GRACE, server.get_url, server.sse_url],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the outage
    ) as process:
        until(lambda: scrape_files(registry).get(MASTER) == 1)
        server.on_get = server.on_stream = lambda connection: connection.reset()
        server.drop_streams()
        wanted = {MASTER: 0.0, ENDED % "expired": 1.0}
        until(lambda: scrape_files(registry).items() >= wanted.items())
        assert process.stdin is not None
        process.stdin.close()
    assert process.returncode == 0


BROKEN = """
import os, shutil, sys
from elector_thread import Elector
from elector_thread.instrumentation import prometheus

prometheus.instrument()
shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
with Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a", poll_interval=0.1,
             reconcile_interval=0.1) as elector:
    assert elector.wait_until_leader(10)
    for _ in range(5):
        elector.refresh()
    sys.stdin.readline()
"""


def test_files_that_cannot_be_written_break_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    server.leader = "pod-a"
    files = tmp_path / "files"
    files.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", BROKEN, server.get_url, server.sse_url],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(files)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert process.stdin is not None
        process.stdin.close()
        rest = process.stderr.read()
    assert "the observer " in first
    assert "raised FileNotFoundError; continuing" in first
    assert rest.count("; continuing") == 0
    assert process.returncode == 0

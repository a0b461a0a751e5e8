"""Every supported server, started with its example: what each of its processes does.

All servers run once, at the same time. `seen` holds what was observed of each; every
test checks one aspect. Every wait ends with an event; its limit only detects a hang.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import pytest

from elector_thread.local import LocalElector

from ..polling import until
from .pods import BIN, HANG, START, Pod

pytestmark = pytest.mark.timeout(300)  # longer than several limits of the fixture together

WORKERS = 2
GUNICORN = ["gunicorn", "--chdir", "examples", "-b", "127.0.0.1:PORT", "wsgi_app:application"]
HOOKED = [*GUNICORN, "-c", "examples/gunicorn_conf.py"]
UWSGI = ["uwsgi", "--virtualenv", sys.prefix, "--http-socket", "127.0.0.1:PORT"]
UWSGI += ["--chdir", "examples", "--module", "wsgi_app:application", "--need-app", "--die-on-term"]
MASTER = [*UWSGI, "--master", "--processes", "2"]
UVICORN = ["uvicorn", "--app-dir", "examples", "--port", "PORT", "uvicorn_app:app"]

ROWS = {
    "gunicorn sync": HOOKED,
    "gunicorn sync, preload": [*HOOKED, "--preload"],
    "gunicorn gthread": [*HOOKED, "-k", "gthread", "--threads", "2"],
    "gunicorn gthread, preload": [*HOOKED, "-k", "gthread", "--threads", "2", "--preload"],
    "gunicorn gevent": [*HOOKED, "-k", "gevent"],
    "gunicorn gevent, preload": [*HOOKED, "-k", "gevent", "--preload"],
    "gunicorn asgi": [*HOOKED[:-3], "uvicorn_app:app", *HOOKED[-2:], "-k", "asgi"],
    "gunicorn asgi, preload": [
        *[*HOOKED[:-3], "uvicorn_app:app", *HOOKED[-2:]],
        *["-k", "asgi", "--preload"],
    ],
    "gunicorn without hooks": [*GUNICORN, "-w", "2"],
    "gunicorn without hooks, preload": [*GUNICORN, "-w", "2", "--preload"],
    "uwsgi": MASTER,
    "uwsgi, enable-threads": [*MASTER, "--enable-threads", "--threads", "2"],
    "uwsgi, lazy-apps": [*MASTER, "--lazy-apps"],
    "uwsgi, fork hooks": [*MASTER, "--py-call-uwsgi-fork-hooks"],
    "uwsgi, osafterfork": [*MASTER, "--py-call-osafterfork"],
    "uwsgi, no master": [*UWSGI, "--processes", "2"],
    "uvicorn": [*UVICORN, "--workers", "2"],
}
SILENT_UNTIL_ASKED = "gunicorn without hooks, preload"
"""Without hooks, the master starts its own elector and a worker starts at its first request."""


def uwsgi_obstacle() -> str:
    """Why uWSGI cannot run here, or "". It embeds the Python that it was compiled with."""
    try:
        asked = subprocess.run([BIN / "uwsgi", "--python-version"], capture_output=True, text=True)
    except OSError as error:
        return f"uWSGI is not installed, or cannot be run: {error.strerror}"
    built_for, ours = asked.stdout.strip(), platform.python_version()
    if built_for == ours:
        return ""
    return (
        f"uWSGI was built for Python {built_for or 'unknown'}, this is {ours} "
        "(pip install --no-cache-dir --force-reinstall uwsgi)"
    )


def obstacles() -> dict[str, str]:
    """The servers that cannot run here, each with the reason."""
    found = {}
    if why := uwsgi_obstacle():
        found |= {name: why for name in ROWS if name.startswith("uwsgi")}
    elif sys.version_info >= (3, 13):  # with any application: uWSGI releases a lock it never took
        found["uwsgi, osafterfork"] = "uWSGI's py-call-osafterfork aborts on Python 3.13"
    gunicorn = version("gunicorn")
    if int(gunicorn.split(".")[0]) < 27:
        why = f"gunicorn {gunicorn} has no ASGI worker"
        found |= {name: why for name in ROWS if name.startswith("gunicorn asgi")}
    return found


OBSTACLES = obstacles()
RUNNABLE = [name for name in ROWS if name not in OBSTACLES]

WITHOUT_REPLACEMENT = {"uwsgi, no master"}
"""Here a worker that dies is not replaced."""


@dataclass
class Seen:
    """What was observed of one server."""

    started: set[int] = field(default_factory=set)
    streams: int = 0
    connected: set[int] = field(default_factory=set)
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    switched: dict[int, float] = field(default_factory=dict)
    replaced: set[int] = field(default_factory=set)
    streams_after_a_kill: int = 0
    demoted_at_the_end: set[int] = field(default_factory=set)
    alive_at_the_end: set[int] = field(default_factory=set)
    ended_within: float = 0.0
    left: list[int] = field(default_factory=list)
    streams_left: int = 0
    output: str = ""


def free_ports(count: int) -> list[int]:
    """Ports outside the range from which the system hands out its own."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 1000 * 12, 32_768):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def observe(elector: LocalElector, pods: dict[str, Pod]) -> dict[str, Seen]:
    """Five phases, each for all servers at the same time."""
    seen = {name: Seen() for name in pods}

    def for_all(phase: Callable[[Pod, Seen], None], at_once: int = len(pods)) -> None:
        with ThreadPoolExecutor(at_once) as crew:
            list(crew.map(phase, pods.values(), seen.values()))

    for_all(watch_the_start)
    for pod in pods.values():
        pod.door.gets_pass.clear()  # only the stream can report the switch
    switched = time.monotonic()
    elector.elect("pod-b")
    for_all(lambda pod, seen: watch_the_switch(pod, seen, switched))
    for pod in pods.values():
        pod.door.gets_pass.set()
    returned = time.monotonic()
    elector.elect("pod-a")
    for_all(lambda pod, seen: watch_the_return(pod, seen, returned))
    for_all(kill_a_worker)
    for_all(watch_the_end, at_once=5)  # many at once would distort the table's last column
    return seen


def watch_the_start(pod: Pod, seen: Seen) -> None:
    pod.ask_workers(WORKERS, START)
    pod.wait_for(lambda: len(pod.who_said("is the leader")) >= expected_streams(pod.name))
    seen.started = set(pod.who_said("is the leader"))
    seen.answers = pod.ask_workers(WORKERS)
    seen.streams = pod.door.wait_streams(len(seen.started), HANG)
    seen.connected = pod.connected_pids()


def watch_the_switch(pod: Pod, seen: Seen, began: float) -> None:
    text = "sees that pod-b leads"
    pod.wait_for(lambda: seen.started <= set(pod.who_said(text)))
    seen.switched = {pid: at - began for pid, at in pod.who_said(text).items()}


def watch_the_return(pod: Pod, seen: Seen, began: float) -> None:
    """Wait until every worker leads again, so that its end is a demotion."""
    pod.wait_for(lambda: seen.started <= set(pod.who_said("is the leader", since=began)))


def kill_a_worker(pod: Pod, seen: Seen) -> None:
    """Kill one worker, and wait until the process that replaces it serves and leads.

    gunicorn loses a SIGTERM that reaches a worker which does not serve yet.
    """
    victim = max(seen.started - {pod.process.pid}, default=None)
    if victim is None:
        return  # it never started, which another test reports
    os.kill(victim, signal.SIGKILL)
    if pod.name not in WITHOUT_REPLACEMENT:
        pod.ask_workers(WORKERS, START)
        pod.wait_for(lambda: bool(set(pod.who_said("is the leader")) - seen.started))
    seen.replaced = set(pod.who_said("is the leader")) - seen.started
    seen.alive_at_the_end = (seen.started | seen.replaced) - {victim}
    seen.streams_after_a_kill = pod.door.wait_streams(len(seen.alive_at_the_end), HANG)


def watch_the_end(pod: Pod, seen: Seen) -> None:
    now = time.monotonic()
    seen.ended_within = pod.terminate()
    seen.demoted_at_the_end = set(pod.who_said("is no longer the leader", since=now))
    with contextlib.suppress(AssertionError):  # uvicorn's own helper ends a moment later
        until(lambda: not pod.pids(), within=HANG)
    seen.left = pod.pids()
    seen.streams_left = pod.door.wait_streams(0, HANG)
    seen.output = pod.output


def expected_streams(name: str) -> int:
    return WORKERS + (name == SILENT_UNTIL_ASKED)  # the master has one as well


def run(rows: Iterable[str] = RUNNABLE) -> dict[str, Seen]:
    """Observe these servers from start to end."""
    pods: dict[str, Pod] = {}
    with LocalElector() as elector:
        elector.elect("pod-a")
        try:
            for name, port in zip(rows, free_ports(len(list(rows))), strict=True):
                filled = [part.replace("PORT", str(port)) for part in ROWS[name]]
                pods[name] = Pod(name, filled, port, elector.port)
            return observe(elector, pods)
        finally:
            for pod in pods.values():
                pod.kill()


@pytest.fixture(scope="module")
def seen() -> dict[str, Seen]:
    return run()


each_row = pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            name, marks=pytest.mark.skipif(name in OBSTACLES, reason=OBSTACLES.get(name, ""))
        )
        for name in ROWS
    ],
)


@each_row
def test_every_worker_starts_and_leads(seen: dict[str, Seen], row: str) -> None:
    assert len(seen[row].started) == expected_streams(row), seen[row].output
    answers = seen[row].answers
    assert len(answers) == WORKERS
    assert set(answers) <= seen[row].started
    assert all(answer["is_leader"] for answer in answers.values())


@each_row
def test_one_stream_for_each_worker_and_none_from_the_master(
    seen: dict[str, Seen], row: str
) -> None:
    assert seen[row].streams == expected_streams(row)
    assert seen[row].connected == seen[row].started


@each_row
def test_every_worker_sees_a_switch_on_its_stream(seen: dict[str, Seen], row: str) -> None:
    assert set(seen[row].switched) == seen[row].started


@each_row
def test_a_killed_worker_leaves_no_stream_and_its_successor_has_one(
    seen: dict[str, Seen], row: str
) -> None:
    assert len(seen[row].replaced) == (row not in WITHOUT_REPLACEMENT)
    assert seen[row].streams_after_a_kill == len(seen[row].alive_at_the_end)


@each_row
def test_sigterm_ends_it_before_the_server_kills_a_worker(seen: dict[str, Seen], row: str) -> None:
    assert seen[row].ended_within < HANG, seen[row].output
    assert (seen[row].left, seen[row].streams_left) == ([], 0)


@each_row
def test_every_worker_steps_down_at_the_end(seen: dict[str, Seen], row: str) -> None:
    assert seen[row].demoted_at_the_end >= seen[row].alive_at_the_end, seen[row].output


@each_row
def test_nothing_goes_wrong_on_the_way(seen: dict[str, Seen], row: str) -> None:
    _, traceback, what = seen[row].output.partition("Traceback")
    assert (traceback, what) == ("", "")
    threads = re.findall(r"elector-(?:stream|poll|dispatch|lock|task)", seen[row].output)
    assert threads == [], "none of the library's threads is mentioned"

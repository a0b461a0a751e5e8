"""What the environment of a process says about worker processes and proxies.

For ``elector-thread doctor`` and Django's system checks.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .._runtime.podwork import count_working
from ..settings import Settings

__all__ = [
    "WORKER_VARIABLES",
    "Proxy",
    "WorkerCount",
    "Workers",
    "configured_workers",
    "find_workers",
    "proxy_for",
    "running_workers",
]

WORKER_VARIABLES = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "UWSGI_PROCESSES", "UWSGI_WORKERS")

SERVERS = ("gunicorn", "uwsgi", "uvicorn")
SPAWNED = "multiprocessing child"
"""uvicorn's workers, whose command lines do not name it."""

OF_THE_POD = ("ELECTOR_GET_URL", "ELECTOR_PATH", "ELECTOR_THREAD_IDENTITY", "NAIS_POD_NAME")
"""The variables that are the same in all processes of a pod, and tell it from other pods."""

_APPLICATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_GUNICORN_WORKERS = re.compile(r"(?:^| )(?:-w|--workers)[ =]?(\d+)(?= |$)")


class WorkerCount(NamedTuple):
    """A server with several worker processes. ``source`` is a variable or a running server."""

    source: str
    workers: int


class Workers(NamedTuple):
    """What is known of the processes of this pod.

    working: how many run leader-only work with ``scope="pod"``, by the marks that they set.
    servers: which servers have several workers, or are asked to; what these run is not known.
    """

    working: int
    servers: list[str]


class Proxy(NamedTuple):
    """A proxy in the environment. ``exempt``: NO_PROXY exempts the host."""

    scheme: str
    host: str
    exempt: bool


def find_workers(settings: Settings, env: Mapping[str, str]) -> Workers:
    """For ``doctor`` and for Django's system checks."""
    servers = [f"{source} asks for {count} workers" for source, count in configured_workers(env)]
    if settings.configured:
        servers += [f"{source} runs {count} workers" for source, count in running_workers(env)]
    return Workers(count_working(settings), servers)


def configured_workers(env: Mapping[str, str]) -> Iterator[WorkerCount]:
    """The variables that ask a server for more than one worker."""
    for name in WORKER_VARIABLES:
        value = env.get(name, "").strip()
        if value.isdecimal() and int(value) > 1:
            yield WorkerCount(name, int(value))
    try:
        arguments = " ".join(shlex.split(env.get("GUNICORN_CMD_ARGS", "")))
    except ValueError:  # unbalanced quotes, which gunicorn reports itself
        return
    found = _GUNICORN_WORKERS.search(arguments)
    if found and int(found[1]) > 1:
        yield WorkerCount("GUNICORN_CMD_ARGS", int(found[1]))


def running_workers(env: Mapping[str, str], proc: Path = Path("/proc")) -> Iterator[WorkerCount]:
    """The servers in /proc with more than one worker that belong to the pod of ``env``.

    Outside a pod, /proc also lists servers that have nothing to do with this application.
    """
    programs, parents = _processes(proc)
    workers = Counter(
        parent
        for pid, parent in parents.items()
        if parent in programs
        and programs.get(pid) in (programs[parent], _spawned_by(programs[parent]))
    )
    for master, count in sorted(workers.items()):
        folder = proc / str(master)
        if count > 1 and _is_of_the_pod(folder, env):
            yield WorkerCount(f"{_label(programs[master], folder)} (pid {master})", count)


def proxy_for(url: str) -> Proxy | None:
    """The proxy that other HTTP clients would use for ``url``, exempt or not."""
    parts, proxies = urlsplit(url), getproxies()
    if parts.hostname is None or not {parts.scheme, "all"} & proxies.keys():
        return None
    exempt = proxy_bypass(parts.netloc.rpartition("@")[2])
    return Proxy(parts.scheme, parts.hostname, bool(exempt))


def _spawned_by(program: str) -> str:
    return SPAWNED if program == "uvicorn" else program


def _processes(proc: Path) -> tuple[dict[int, str], dict[int, int]]:
    """The servers and their possible workers by pid, and the parent of every process."""
    programs: dict[int, str] = {}
    parents: dict[int, int] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            words = _words(folder)
            stat = (folder / "stat").read_text("latin-1")
        except OSError:  # it has ended
            continue
        pid = int(folder.name)
        parents[pid] = int(stat.rpartition(")")[2].split()[1])
        program = _program(words)
        if program:
            programs[pid] = program
    return programs, parents


def _program(words: list[str]) -> str | None:
    """The server that a command line runs: its name is among the first words, or in a title."""
    if any("spawn_main" in word for word in words[:4]):
        return SPAWNED
    for word in words[:3]:
        name = word.rpartition("/")[2].partition(":")[0]
        if name in SERVERS:
            return name
    return None


def _label(program: str, folder: Path) -> str:
    """The server and its application, without options: they may be long, or secret."""
    try:
        applications = filter(_APPLICATION.fullmatch, _words(folder))
    except OSError:  # it has ended
        return program
    return " ".join([program, *(name[:40] for name in list(applications)[:1])])


def _words(folder: Path) -> list[str]:
    """The command line of a process."""
    return (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")


def _is_of_the_pod(folder: Path, env: Mapping[str, str]) -> bool:
    try:
        entries = (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # another user's process, or it has ended
        return False
    if not any(entry.startswith(b"PATH=") for entry in entries):
        # a process title has overwritten it; in a pod, there are no other pods' processes
        return "KUBERNETES_SERVICE_HOST" in env
    ours = {os.fsencode(f"{name}={env[name]}") for name in OF_THE_POD if name in env}
    return ours == {
        entry for entry in entries if entry.partition(b"=")[0].decode("latin-1") in OF_THE_POD
    }

"""How many worker processes a server was asked for, and how many there are.

Reads the environment it is given and /proc; decides nothing.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["servers", "workers_asked_for"]

SERVERS = ("gunicorn", "uwsgi", "uvicorn")

COUNTS = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "UWSGI_PROCESSES", "UWSGI_WORKERS")

_GUNICORN = re.compile(r"(?:-w|--workers)[ =]?(\d+)")


def workers_asked_for(env: Mapping[str, str]) -> Iterator[str]:
    """``NAME=VALUE`` for each variable that asks a server for more than one worker."""
    for name in COUNTS:
        value = env.get(name, "").strip()
        if value.isdecimal() and int(value) > 1:
            yield f"{name}={value}"
    try:
        arguments = " ".join(shlex.split(env.get("GUNICORN_CMD_ARGS", "")))
    except ValueError:  # unbalanced quotes; gunicorn will say so itself
        return
    found = _GUNICORN.search(arguments)
    if found and int(found[1]) > 1:
        yield f"GUNICORN_CMD_ARGS has --workers {found[1]}"


def servers(proc: Path = Path("/proc")) -> Iterator[str]:
    """A line for each running server with more than one worker, as far as /proc shows."""
    programs, parents = _processes(proc)
    children = Counter(
        parent
        for pid, parent in parents.items()
        if parent in programs and _may_be_worker(programs, pid, parent)
    )
    for master, count in sorted(children.items()):
        if count > 1:
            yield f"{programs[master]} (pid {master}) has {count} workers"


def _may_be_worker(programs: Mapping[int, str], pid: int, parent: int) -> bool:
    """uvicorn's workers are multiprocessing children, whose command line does not name it."""
    return programs.get(pid) == programs[parent] or (
        programs[parent] == "uvicorn" and programs.get(pid) == "spawned"
    )


def _processes(proc: Path) -> tuple[dict[int, str], dict[int, int]]:
    """What servers there are, by pid, and everybody's parent."""
    programs: dict[int, str] = {}
    parents: dict[int, int] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            stat = (folder / "stat").read_text("latin-1")
        except OSError:  # ended while we looked
            continue
        pid = int(folder.name)
        parents[pid] = int(stat.rpartition(")")[2].split()[1])
        program = _program(words)
        if program:
            programs[pid] = program
    return programs, parents


def _program(words: list[str]) -> str | None:
    """Which server a command line is: its name is among the first words, maybe as a title."""
    if any("spawn_main" in word for word in words[:4]):
        return "spawned"
    for word in words[:3]:
        name = word.rpartition("/")[2].partition(":")[0]
        if name in SERVERS:
            return name
    return None

"""Scripts to run, and the state of any process, by its pid."""

from __future__ import annotations

from pathlib import Path

from .polling import until


def executable(path: Path, script: str) -> Path:
    """Write a shell script that can be run; a test may move or replace it."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def state_of(pid: int) -> str:
    """The state of a process as one letter, as in ps: R, S, T, Z."""
    return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    """Whether the process can still run code; a zombie cannot."""
    try:
        return state_of(pid) not in "ZX"
    except OSError:
        return False


def wait_gone(*pids: int) -> None:
    """Wait until all of the processes have ended."""
    for pid in pids:
        until(lambda pid=pid: not is_alive(pid), f"process {pid} to end")

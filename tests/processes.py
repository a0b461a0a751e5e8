"""Programs to run, and processes by their number, also those that are nobody's children."""

from __future__ import annotations

from pathlib import Path

from .polling import until


def executable(path: Path, script: str) -> Path:
    """A program in a file, which may then be moved away or spoilt."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def state_of(pid: int) -> str:
    """The letter that the kernel gives for what the process does: S, T, Z."""
    return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    """Whether it may still run a line of its own code; a zombie whom nobody reaps may not."""
    try:
        return state_of(pid) not in "ZX"
    except OSError:
        return False


def wait_gone(*pids: int) -> None:
    """Wait for the processes' ends."""
    for pid in pids:
        until(lambda pid=pid: not is_alive(pid), f"process {pid} to end")

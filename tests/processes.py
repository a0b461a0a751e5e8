"""Programs to run, and processes by their id, also those that are not our children."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from .polling import until


class Ended(NamedTuple):
    """How a program ended, what it wrote, and how many seconds it ran."""

    exit_code: int
    out: str
    err: str
    seconds: float


def run_python(
    code: str, *arguments: str, options: Sequence[str] = (), within: float = 60.0
) -> Ended:
    """Run ``code`` in an interpreter of its own; one that hangs is killed and fails the test.

    options: the interpreter's.
    """
    began = monotonic()
    ended = subprocess.run(
        [sys.executable, *options, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=within,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr, monotonic() - began)


def executable(path: Path, script: str) -> Path:
    """A program in a file, which may then be moved away or damaged."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def state_of(pid: int) -> str:
    """The kernel's letter for the state of the process: S, T, Z."""
    return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    """Whether the process may still run code; a zombie may not."""
    try:
        return state_of(pid) not in "ZX"
    except OSError:
        return False


def wait_gone(*pids: int) -> None:
    """Wait until the processes have ended."""
    for pid in pids:
        until(lambda pid=pid: not is_alive(pid), f"process {pid} to end")

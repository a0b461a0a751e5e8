"""What ``run`` asks of the system: programs, standard streams, orphans."""

from __future__ import annotations

import os
import shutil

from .terminal import print_error

__all__ = [
    "CANNOT_RUN",
    "NOT_FOUND",
    "check_program",
    "occupy_standard_streams",
    "reap_orphans",
]

NOT_FOUND, CANNOT_RUN = 127, 126  # as in shells


def reap_orphans(ours: set[int]) -> None:
    """As process 1 of a container: reap every orphan, but none of our own children."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in ours:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def occupy_standard_streams() -> None:
    """Keep our pipes from getting the number of a closed stdin, stdout or stderr."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def check_program(program: str) -> int:
    """Report a program that cannot be run before waiting for leadership; 0 if it can be."""
    if shutil.which(program):
        return 0
    if shutil.which(program, os.F_OK):
        print_error("run", f"cannot run {program!r}: it is not executable")
        return CANNOT_RUN
    print_error("run", f"cannot run {program!r}: command not found")
    return NOT_FOUND

"""`Child`: a command that runs, with all its descendants, in a session of its own.

Signals reach the command's whole process group, and nothing that the command started
outlives it. On Linux the command also dies with its parent, even if the parent is killed
with SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import IO

__all__ = ["Child", "describe_exit", "exit_status", "kill_session"]

LAUNCHER = Path(__file__).with_name("_launch.py")

PROC = Path("/proc")
PROCESS_ENDED = (FileNotFoundError, ProcessLookupError, PermissionError, ValueError, IndexError)
"""Errors from reading the /proc entry of a process that has ended, or that is hidden from us."""

MAX_KILL_ROUNDS = 10
"""How often to look for processes that were forked while the session was being killed."""

RETRY_DELAY = 0.1
"""Seconds between two attempts to read /proc, if the system has no free descriptor."""

Stream = int | IO[bytes] | None


class Child:
    """A running command, started by the constructor.

    command: the program, looked up in the ``PATH`` of ``environ``, and its arguments.
    environ: the complete environment; None inherits ours.
    stdin, stdout, stderr: binary, as for `subprocess.Popen`; ``stdin`` is empty by default.
    mark: an entry of ``environ``, as ``NAME=value``, that only this command has. It
        identifies descendants that have left the session (Linux).
    on_exit: called with the child, in a thread of its own, when all its processes are gone.

    Raises OSError, as `subprocess.Popen` does, if the command cannot be run.

    The session separates the command from our terminal: Ctrl-C there reaches only this
    process, which decides what happens to the command. As in a container, processes that
    are left when the command ends are killed.

    On Linux the kernel kills the command when the *thread* that created it ends, so
    create it in a long-lived thread, preferably the main one.
    """

    # `_lock` ensures that a signal goes to our process and not to a later one with the
    # same pid: a pid is free again only once its process was reaped, and that happens
    # under the lock. `returncode` is written there too, before `_gone` is set.

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        mark: str | None = None,
        on_exit: Callable[[Child], object] | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._mark = mark
        self._on_exit = on_exit
        self._lock = Lock()
        self._gone = Event()
        self._process = _spawn(list(command), environ, stdin, stdout, stderr)
        self.pid: int = self._process.pid
        # pipes, if they were asked for; the caller closes them
        self.stdin = self._process.stdin
        self.stdout = self._process.stdout
        self.stderr = self._process.stderr
        Thread(target=self._watch, name=f"elector-child-{self.pid}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether any process of it may still run."""
        return not self._gone.is_set()

    def send(self, number: int) -> bool:
        """Send a signal to the command's process group; False if the command has ended."""
        with self._lock:
            if self.returncode is not None:
                return False
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:  # pragma: no cover - a zombie still counts as a member
                return False
            except PermissionError:  # pragma: no cover - macOS raises this for a zombie
                return False
            return True

    def terminate(self) -> None:
        """Send SIGTERM, and SIGCONT because a stopped process would not handle it."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)

    def kill(self) -> bool:
        """Send SIGKILL to the whole session; False if it has ended. Does not wait."""
        with self._lock:
            if self.returncode is not None:
                return False
            kill_session(self.pid, self._mark)
            return True

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until all processes are gone; the exit code, or None after ``timeout`` seconds.

        A negative exit code is the number of the signal that ended the command.
        """
        self._gone.wait(timeout)
        return self.returncode

    def _watch(self) -> None:
        """Wait for the command to end, kill remaining processes, then notify."""
        if hasattr(os, "waitid"):  # leaves a zombie, which reserves the pid
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:  # pragma: no cover - macOS before Python 3.13
            self._process.wait()
        while not self._kill_remaining():
            self._gone.wait(RETRY_DELAY)  # only a pause: no other thread sets it
        self._gone.set()
        if self._on_exit is not None:
            self._on_exit(self)

    def _kill_remaining(self) -> bool:
        """Kill what is left, and reap; False if /proc could not be read."""
        with self._lock:
            if not kill_session(self.pid, self._mark):
                return False
            self.returncode = self._process.wait()
            return True


def exit_status(returncode: int) -> int:
    """A return code as shells report it: 128 + the signal, if a signal ended the command."""
    return 128 - returncode if returncode < 0 else returncode


def describe_exit(returncode: int) -> str:
    """A return code in words: ``exit code 3``, ``SIGKILL``."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _spawn(
    command: list[str],
    environ: Mapping[str, str] | None,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
) -> subprocess.Popen[bytes]:
    if sys.platform != "linux" or not sys.executable:
        return subprocess.Popen(  # noqa: S603 - the user's own command
            command,
            env=environ,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    error_pipe, launcher_end = os.pipe()
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(launcher_end)]
    try:
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                [*launcher, *command],
                env=environ,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[launcher_end],
                start_new_session=True,
            )
        finally:
            os.close(launcher_end)
        problem = os.read(error_pipe, 16)  # empty: a successful exec closed the pipe
    finally:
        os.close(error_pipe)
    if problem:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
        raise OSError(int(problem), os.strerror(int(problem)), command[0])
    return process


def kill_session(leader: int | None, mark: str | None = None) -> bool:
    """Send SIGKILL to every process of a session, and to every process with the mark.

    leader: pid of the session's leader; None if only the mark is known.

    Returns False if the system could not list processes, because no descriptor is free
    for example.
    """
    if leader is not None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: the latter for a zombie
            os.killpg(leader, signal.SIGKILL)
    for _ in range(MAX_KILL_ROUNDS):
        try:
            members = _living_members(leader, mark)
        except OSError:
            return False
        if not members:
            break
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):  # ended, or a new process's pid
                os.kill(pid, signal.SIGKILL)
    return True


def _living_members(session: int | None, mark: str | None) -> list[int]:
    """Pids from /proc, none where there is no /proc. Raises OSError if it cannot be listed."""
    if not PROC.exists():
        return []
    found = []
    for entry in PROC.iterdir():  # not glob, which hides errors
        if not entry.name.isdecimal():
            continue
        try:
            # pid (name, which may contain anything) state parent group session ...
            stat = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()
            if stat[0] not in "ZX" and (int(stat[3]) == session or _has_mark(entry, mark)):
                found.append(int(entry.name))
        except PROCESS_ENDED:
            continue
    return found


def _has_mark(entry: Path, mark: str | None) -> bool:
    if mark is None:
        return False
    try:
        return os.fsencode(mark) in (entry / "environ").read_bytes().split(b"\0")
    except PermissionError:  # another user's process
        return False

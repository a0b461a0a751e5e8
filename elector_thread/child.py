"""`Child`: one command that runs, with all its descendants, in a session of its own.

Owns the process and its end: signals reach the whole group, nothing that the
command started outlives it, nobody else has to reap it. On Linux the command also
dies with its parent, even if that is killed with SIGKILL.
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

__all__ = ["Child", "exit_status", "kill_session", "told"]

LAUNCH = Path(__file__).with_name("_launch.py")

PROC = Path("/proc")
ENDED_MEANWHILE = (FileNotFoundError, ProcessLookupError, PermissionError, ValueError, IndexError)
"""What it says of a process that ended while we looked, or that is hidden from us."""

SWEEPS = 10
"""How often to look for survivors that forked while they were being killed."""

LOOK_AGAIN = 0.1
"""Seconds until the next look for survivors, where the system did not let us look."""

Stream = int | IO[bytes] | None


class Child:
    """A running command, started by the constructor.

    command: the program and its arguments; looked up in the ``PATH`` of ``environ``.
    environ: the whole environment; None inherits ours.
    stdin, stdout, stderr: as for `subprocess.Popen`, in binary; ``stdin`` is empty by default.
    mark: an entry of ``environ``, as ``NAME=value``, that only this command has: by it
        those of its descendants are found that have left the session (Linux).
    on_exit: called with the child, on a thread of its own, once all of it is gone.

    Raises OSError, as `subprocess.Popen` does, if the command cannot be run.

    The session separates the command from our terminal: a Ctrl-C there reaches us
    alone, and we decide what becomes of the command. Its end is the end of the
    session, as in a container: what is left of it is killed.

    On Linux the kernel kills the command when the *thread* that made it ends:
    construct it on a thread that lives long enough, best the main one.
    """

    # `_lock` makes sure that a signal goes to our process and not to a later one
    # with the same pid: a pid is free again only once it was reaped, and that
    # happens under the lock. `returncode` is written there too, before `_gone` is set.

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
        Thread(target=self._watch, name=f"elector-child-{self.pid}", daemon=True).start()

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to the command, if asked for; closing it is the caller's."""
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe from the command, if asked for; closing it is the caller's."""
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """The pipe from the command, if asked for; closing it is the caller's."""
        return self._process.stderr

    @property
    def alive(self) -> bool:
        """Whether anything of it may still run."""
        return not self._gone.is_set()

    def send(self, number: int) -> bool:
        """Send a signal to the command's whole group; False if it has ended."""
        with self._lock:
            if self.returncode is not None:
                return False
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:  # pragma: no cover - a zombie still counts as a member
                return False
            except PermissionError:  # pragma: no cover - macOS says so of a zombie
                return False
            return True

    def kill(self) -> bool:
        """SIGKILL to the whole session; False if it has ended. Does not wait."""
        with self._lock:
            if self.returncode is not None:
                return False
            kill_session(self.pid, self._mark)
            return True

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code (negative: the signal that ended it) once all is gone; None after
        ``timeout`` seconds.
        """
        self._gone.wait(timeout)
        return self.returncode

    def end(self, grace: float) -> int | None:
        """SIGTERM, then SIGKILL after ``grace`` seconds, and wait; the exit code."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)  # a stopped process would not hear it
        if self.wait(grace) is None:
            self.kill()
        return self.wait()

    def _watch(self) -> None:
        """Wait for the command's end, take what is left of it along, and tell."""
        if hasattr(os, "waitid"):  # leaves the zombie, which keeps the pid ours
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:  # pragma: no cover - macOS before Python 3.13
            self._process.wait()
        while not self._take_along():
            self._gone.wait(LOOK_AGAIN)  # a pause: only we set it
        self._gone.set()
        if self._on_exit is not None:
            self._on_exit(self)

    def _take_along(self) -> bool:
        """Kill what is left, and reap; False if nobody can tell yet whether something is left."""
        with self._lock:
            if not kill_session(self.pid, self._mark):
                return False
            self.returncode = self._process.wait()
            return True


def exit_status(returncode: int) -> int:
    """What a shell makes of a return code: 128 + the signal, if one ended the command."""
    return 128 - returncode if returncode < 0 else returncode


def told(returncode: int) -> str:
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
    failure, told_to = os.pipe()
    try:
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                [sys.executable, "-I", "-S", LAUNCH, str(os.getpid()), str(told_to), *command],
                env=environ,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[told_to],
                start_new_session=True,
            )
        finally:
            os.close(told_to)
        problem = os.read(failure, 16)  # nothing: the exec went well and closed it
    finally:
        os.close(failure)
    if problem:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
        raise OSError(int(problem), os.strerror(int(problem)), command[0])
    return process


def kill_session(leader: int, mark: str | None = None) -> bool:
    """SIGKILL to everything in the session, whatever its group, and to all that has the mark.

    False if the system does not let us look for them: no descriptor is free, say.
    """
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
        os.killpg(leader, signal.SIGKILL)
    for _ in range(SWEEPS):
        try:
            members = _living_members(leader, mark)
        except OSError:
            return False
        if not members:
            break
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):  # gone; or another user's now
                os.kill(pid, signal.SIGKILL)
    return True


def _living_members(session: int, mark: str | None) -> list[int]:
    """Their pids, from /proc; where there is none, the group has to do. OSError: cannot look."""
    if not PROC.exists():
        return []
    found = []
    for entry in PROC.iterdir():  # not by glob, which hides that it cannot look
        if not entry.name.isdecimal():
            continue
        try:
            # pid (name, which may hold anything) state parent group session ...
            stat = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()
            if stat[0] not in "ZX" and (int(stat[3]) == session or _has_mark(entry, mark)):
                found.append(int(entry.name))
        except ENDED_MEANWHILE:
            continue
    return found


def _has_mark(entry: Path, mark: str | None) -> bool:
    if mark is None:
        return False
    try:
        return os.fsencode(mark) in (entry / "environ").read_bytes().split(b"\0")
    except PermissionError:  # another user's
        return False

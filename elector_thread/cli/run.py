"""``run``: a command that runs only while this pod leads, and never twice.

One loop on the main thread decides everything: it alone starts and ends the command,
in turn with signals, with changes of leadership and with the command's own end. Each
turn compares the leadership with the clock, so it needs nobody's word that it is over.

    idle ──elected──▶ running ──leadership over: SIGTERM, grace, SIGKILL──▶ idle
                         └──failed: back-off──▶ idle        └──ended with 0──▶ the end
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Sequence
from math import inf

from .._state.clock import now
from .._state.leadership import Leadership
from ..child import Child, exit_status, told
from ..elector import Elector
from . import console
from .mailbox import WAKE_UP, Mailbox
from .sentinel import Sentinel
from .voice import Voice

__all__ = ["run"]

NOT_FOUND, CANNOT_RUN = 127, 126  # as shells have it

MARK = "ELECTOR_THREAD_RUN"
"""The variable by which all that the command starts is found, whatever its session."""

TICK = 0.5
"""Seconds between two looks at the clock while the command runs."""

LONGEST_PAUSE = 60.0
HEALTHY_LIFE = 60.0
"""Seconds: the back-off's ceiling, and how long a command must run for it to begin anew."""

SLACK = 0.5
"""Seconds beyond what the supervisor needs itself, before the sentinel acts."""


def run(command: Sequence[str], *, grace: float, restart: bool, quiet: bool) -> int:
    """Run ``command`` while leading; its exit code.

    grace: seconds from SIGTERM to SIGKILL once the leadership is over.
    restart: start a command that fails again, with a growing pause.
    quiet: say nothing about starts and ends; warnings remain.

    Raises ConfigurationError for settings that cannot be used.
    """
    code = _why_not(command[0])
    if code:
        return code
    _occupy_standard_streams()
    elector = Elector()
    mark = f"{MARK}={uuid.uuid4().hex}"
    sentinel = Sentinel(mark)
    sentinel.start()  # forks, so it comes before every thread
    voice, mailbox = Voice("elector-thread run", quiet=quiet), Mailbox()
    mailbox.open()
    voice.start()
    supervisor = _Supervisor(command, mark, elector, sentinel, voice, mailbox, grace, restart)
    elector.on_elected(supervisor.elected)
    elector.on_demoted(mailbox.poke)
    elector.start()
    code = supervisor.run()
    sentinel.stop()
    elector.stop(timeout=1.0)
    voice.finish()
    return code


class _Supervisor:
    """The loop. Everything belongs to the main thread, but for `_newest`: a single
    reference that the dispatch thread replaces and the loop only reads.
    """

    def __init__(
        self,
        command: Sequence[str],
        mark: str,
        elector: Elector,
        sentinel: Sentinel,
        voice: Voice,
        mailbox: Mailbox,
        grace: float,
        restart: bool,
    ) -> None:
        self._command = command
        self._mark = mark
        name, _, value = mark.partition("=")
        self._environ = {**os.environ, name: value}
        self._name = os.path.basename(command[0])  # noqa: PTH119 - "" stays ""
        self._elector = elector
        self._sentinel = sentinel
        self._voice = voice
        self._mailbox = mailbox
        self._grace = grace
        self._restart = restart
        self._ends_on = _ending_signals()
        self._newest: Leadership | None = None
        self._child: Child | None = None  # None only when every process of the last one is gone
        self._leadership: Leadership | None = None  # the one that `_child` runs under
        self._kill_at = inf  # while ending: when SIGTERM has had its time
        self._ending = False  # the leadership is over, the child is not yet
        self._forwarded: set[int] = set()  # signals that this child was sent
        self._asked_to_end: int | None = None  # by which signal
        self._started_at = -inf
        self._failures = 0
        self._not_before = -inf  # back-off
        self._code: int | None = None  # once known, the end

    def elected(self, leadership: Leadership) -> None:
        """A leadership began (called on the dispatch thread)."""
        self._newest = leadership
        self._mailbox.poke()

    def run(self) -> int:
        """Until the command is done, or we are told to end; the exit code."""
        self._voice.say(f"waiting to lead as {self._elector.identity}")
        while self._code is None:
            for number in self._mailbox.wait(self._patience()):
                self._take(number)
            self._look_after_processes()
            self._step()
        return self._code

    # --- one turn ------------------------------------------------------------------

    def _patience(self) -> float | None:
        """Seconds until there may be something to do, should no message come."""
        if self._child is not None:
            return max(0.0, min(TICK, self._kill_at - now()))
        if self._may_lead() is not None:
            return max(0.0, self._not_before - now())
        return TICK if os.getpid() == 1 else None

    def _step(self) -> None:
        child = self._child
        if child is None:
            self._begin()
        elif not child.alive:
            self._child = None
            self._sentinel.rest()
            self._conclude(child)
        elif self._leadership is None or self._leadership.ended:
            self._end(child)
        else:
            self._sentinel.guard(child.pid, self._leads_until() + self._grace + SLACK)

    def _begin(self) -> None:
        """Start the command, if there is a leadership to run under and no reason to wait."""
        leadership = self._may_lead()
        if self._asked_to_end is not None:
            self._code = 128 + self._asked_to_end
        elif leadership is not None and now() >= self._not_before:
            self._start(leadership)

    def _may_lead(self) -> Leadership | None:
        newest = self._newest
        return None if newest is None or newest.ended else newest

    def _leads_until(self) -> float:
        status = self._elector.status()
        if not status.is_leader:
            return now()
        return now() + (inf if status.expires_in is None else status.expires_in)

    # --- the command's life -----------------------------------------------------------

    def _start(self, leadership: Leadership) -> None:
        stdin = subprocess.DEVNULL if os.isatty(0) else None  # another session's terminal
        self._leadership, self._ending, self._kill_at = leadership, False, inf
        self._forwarded, self._started_at = set(), now()
        self._sentinel.expect(self._leads_until() + self._grace + SLACK)
        try:
            self._child = Child(
                self._command,
                environ=self._environ,
                stdin=stdin,
                mark=self._mark,
                on_exit=lambda _: self._mailbox.poke(),
            )
        except OSError as error:
            self._sentinel.rest()
            self._cannot_start(error)
            return
        self._sentinel.guard(self._child.pid, self._leads_until() + self._grace + SLACK)
        self._voice.say(f"leading: started {self._name} (pid {self._child.pid})")

    def _cannot_start(self, error: OSError) -> None:
        problem = f"cannot run {self._command[0]!r}: {error.strerror or error}"
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            self._back_off(problem)  # the machine's fault, and it may pass
            return
        self._code = NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN
        self._voice.say(problem)

    def _end(self, child: Child) -> None:
        """The leadership is over: SIGTERM first, SIGKILL when its time is up."""
        if not self._ending:
            self._ending, self._kill_at = True, now() + self._grace
            self._sentinel.guard(child.pid, self._kill_at + SLACK)
            child.send(signal.SIGTERM)
            child.send(signal.SIGCONT)  # a stopped process would not hear it
            self._voice.say(f"leading no longer: SIGTERM to {self._name} (pid {child.pid})")
        if now() >= self._kill_at:
            self._kill_at = inf
            child.kill()
            self._voice.say(f"{self._name} did not end within {self._grace:g} s: SIGKILL")

    def _conclude(self, child: Child) -> None:
        """The command is gone, whole: what now?"""
        returncode = child.returncode
        assert returncode is not None, "it is gone"
        what = f"{self._name} ended ({told(returncode)})"
        if self._asked_to_end is not None or -returncode in self._forwarded:
            self._code = exit_status(returncode)
        elif self._ending:
            self._voice.say(f"{what}; waiting to lead again")
            self._failures, self._not_before = 0, -inf
        elif returncode == 0 or not self._restart:
            self._code = exit_status(returncode)
        else:
            self._back_off(what)
        if self._code is not None:
            self._voice.say(what)

    def _back_off(self, what: str) -> None:
        if now() - self._started_at >= HEALTHY_LIFE:
            self._failures = 0
        pause = min(LONGEST_PAUSE, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._not_before = now() + pause
        self._voice.say(f"{what}; again in {pause:g} s if still leading")

    # --- signals and other processes -------------------------------------------------

    def _take(self, number: int) -> None:
        """One message: forward it, if it is a signal."""
        if number in (WAKE_UP, signal.SIGCHLD):
            return
        child = self._child
        if number == signal.SIGTSTP:
            self._suspend(child)
            return
        if number in self._ends_on:
            self._asked_to_end = number
        if child is None:
            return
        if number == signal.SIGCONT and self._leadership is not None and self._leadership.ended:
            self._end(child)  # before it runs another step
        self._forwarded.add(number)
        child.send(number)

    def _suspend(self, child: Child | None) -> None:
        """Ctrl-Z: nobody watches over a command whose supervisor sleeps, so both sleep."""
        if child is not None:
            child.send(signal.SIGSTOP)
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # goes on here when continued
        if child is None:
            return
        if self._leadership is not None and self._leadership.ended:
            self._end(child)
        child.send(signal.SIGCONT)

    def _look_after_processes(self) -> None:
        if self._sentinel.is_lost():
            self._voice.say(
                "the sentinel was killed; on SIGKILL, what the command started may live"
            )
        if os.getpid() == 1:
            _reap_strangers({self._sentinel.pid, 0 if self._child is None else self._child.pid})


def _reap_strangers(ours: set[int]) -> None:
    """As process 1: take the exit of every orphan of this container, but not of our own."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in ours:  # ours are reaped by who started them
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def _occupy_standard_streams() -> None:
    """Where stdin, stdout or stderr is closed, let no pipe of ours take its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _ending_signals() -> set[int]:
    """Those that mean "end". SIGHUP only from a terminal; elsewhere it means "reload"."""
    terminal = any(os.isatty(number) for number in range(3))
    hangup = {signal.SIGHUP} if terminal else set()
    return {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT} | hangup


def _why_not(program: str) -> int:
    """Complain about a program that cannot be run, long before its turn; 0 if it can be."""
    if shutil.which(program):
        return 0
    if shutil.which(program, os.F_OK):
        console.complain("run", f"cannot run {program!r}: it is not executable")
        return CANNOT_RUN
    console.complain("run", f"cannot run {program!r}: there is no such command")
    return NOT_FOUND

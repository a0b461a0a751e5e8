"""``run``: a command that runs only while this pod is the leader, one copy at a time.

One loop in the main thread decides everything. It starts and ends the command, and
handles signals, changes of leadership and the end of the command in turn. In each turn it
compares the leadership with the clock, so it does not depend on a notification.

    idle ──elected──▶ running ──leadership lost: SIGTERM, grace, SIGKILL──▶ idle
                         └──failed: back-off──▶ idle       └──exit code 0──▶ end
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Sequence
from math import inf

from .. import Elector, Leadership, State
from .._state.clock import now
from ..local.child import Child, describe_exit, exit_status
from ..local.watchdog import Watchdog
from .processes import (
    CANNOT_RUN,
    NOT_FOUND,
    check_program,
    occupy_standard_streams,
    reap_orphans,
)
from .signals import WAKE_UP, SignalPipe, ending_signals
from .status import why_not_leader
from .stderr import BackgroundStderr

__all__ = ["run"]

GAVE_UP = 75
"""This pod was not the leader within the time to wait (EX_TEMPFAIL)."""

UNKNOWN_AFTER = 5.0
"""Seconds of waiting after which a leader that is still unknown is worth a warning."""

MARK = "ELECTOR_THREAD_RUN"
"""The variable that identifies all processes that the command starts."""

INTERVAL = 0.5
"""Seconds between two looks at the clock while the command runs."""

MAX_RESTART_DELAY = 60.0
HEALTHY_LIFE = 60.0
"""Seconds: the longest pause before a restart, and the life after which the pauses start over."""

WATCHDOG_DELAY = 0.5
"""Seconds by which the watchdog acts later than this process would."""


def run(command: Sequence[str], *, wait: float, grace: float, restart: bool, quiet: bool) -> int:
    """Run ``command`` while this pod is the leader; its exit code.

    wait: seconds to wait for leadership before giving up.
    grace: seconds from SIGTERM to SIGKILL after leadership is lost.
    restart: restart a command that fails, with increasing pauses.
    quiet: do not report when the command starts and ends; warnings remain.

    Raises ConfigurationError for invalid settings.
    """
    code = check_program(command[0])
    if code:
        return code
    occupy_standard_streams()
    elector = Elector()
    watchdog = Watchdog()  # forks, so it comes before any thread
    stderr, signals = BackgroundStderr("elector-thread run", quiet=quiet), SignalPipe()
    signals.open()
    stderr.start()
    supervisor = _Supervisor(command, elector, watchdog, stderr, signals, wait, grace, restart)
    elector.on_elected(supervisor.elected)
    elector.on_demoted(signals.wake)
    elector.start()
    code = supervisor.run()
    watchdog.close()
    elector.stop(timeout=1.0)
    stderr.finish()
    return code


class _Supervisor:
    """The loop. Used by the main thread, except for `_newest`: a single reference that the
    dispatch thread replaces and the loop only reads.
    """

    def __init__(
        self,
        command: Sequence[str],
        elector: Elector,
        watchdog: Watchdog,
        stderr: BackgroundStderr,
        signals: SignalPipe,
        wait: float,
        grace: float,
        restart: bool,
    ) -> None:
        self._command = command
        value = uuid.uuid4().hex
        self._mark = f"{MARK}={value}"
        self._environ = {**os.environ, MARK: value}
        self._name = os.path.basename(command[0])  # noqa: PTH119 - "" stays ""
        self._elector = elector
        self._watchdog = watchdog
        self._stderr = stderr
        self._signals = signals
        self._wait = wait
        self._grace = grace
        self._restart = restart
        self._ending_signals = ending_signals()
        self._newest: Leadership | None = None
        self._child: Child | None = None  # None once all processes of the last one are gone
        self._leadership: Leadership | None = None  # the one under which `_child` runs
        self._kill_at = inf  # the end of the grace period, after SIGTERM was sent
        self._ending = False  # leadership is lost, and the child has not ended yet
        self._forwarded: set[int] = set()  # signals that were sent to this child
        self._asked_to_end: int | None = None  # by this signal
        self._started_at = -inf
        self._failures = 0
        self._not_before = -inf  # back-off
        self._waiting_since, self._may_warn = now(), True
        self._code: int | None = None  # set to end the loop

    def elected(self, leadership: Leadership) -> None:
        """Note a new leadership. Called in the dispatch thread."""
        self._newest = leadership
        self._signals.wake()

    def run(self) -> int:
        """Run until the command has finished or a signal ends it; the exit code."""
        self._stderr.say(f"waiting for leadership as {self._elector.identity}")
        while self._code is None:
            for number in self._signals.wait(self._timeout()):
                self._handle(number)
            self._check_processes()
            self._step()
        return self._code

    # --- one turn ------------------------------------------------------------------

    def _timeout(self) -> float | None:
        """Seconds until there may be something to do if no message arrives."""
        if self._child is not None:
            return max(0.0, min(INTERVAL, self._kill_at - now()))
        if self._current_leadership() is not None:
            return max(0.0, self._not_before - now())
        due = self._waiting_since + min(self._wait, UNKNOWN_AFTER if self._may_warn else inf)
        left = min(INTERVAL if os.getpid() == 1 else inf, due - now())
        return None if left == inf else max(0.0, left)

    def _step(self) -> None:
        child = self._child
        if child is None:
            self._start_or_finish()
        elif not child.alive:
            self._child = None
            self._watchdog.release(self._mark)
            self._on_child_ended(child)
        elif self._leadership is None or self._leadership.ended:
            self._end(child)
        else:
            self._watch(child.pid)

    def _start_or_finish(self) -> None:
        leadership = self._current_leadership()
        if self._asked_to_end is not None:
            self._code = 128 + self._asked_to_end
            self._report_waiting(f"; ended by {signal.Signals(self._asked_to_end).name}")
        elif leadership is None:
            self._check_wait()
        elif now() >= self._not_before:
            self._start(leadership)

    def _check_wait(self) -> None:
        """Give up after the time to wait, and warn of a leader that remains unknown."""
        waited = now() - self._waiting_since
        if waited >= self._wait:
            self._code = GAVE_UP
            self._report_waiting(f"; gave up after {self._wait:g} s")
        elif waited >= UNKNOWN_AFTER and self._may_warn:
            self._may_warn = False
            if self._elector.state is State.UNKNOWN:
                self._report_waiting("; waiting for leadership")

    def _report_waiting(self, outcome: str) -> None:
        """Say why the command does not run; a warning if the leader is unknown."""
        status = self._elector.status()
        text = f"{self._name} is not running: {why_not_leader(status)}{outcome}"
        if status.state is State.UNKNOWN:
            self._stderr.warn(f"warning: {text}")
        elif status.state is State.FOLLOWER:
            self._stderr.say(text)

    def _current_leadership(self) -> Leadership | None:
        newest = self._newest
        return None if newest is None or newest.ended else newest

    def _watch(self, pid: int | None) -> None:
        """Let the watchdog kill the command once leadership and the grace period have passed."""
        status = self._elector.status()
        leads_for = status.expires_in if status.is_leader else 0.0
        until = inf if leads_for is None else now() + leads_for + self._grace + WATCHDOG_DELAY
        self._watchdog.watch(self._mark, pid, until)

    # --- the command's life -----------------------------------------------------------

    def _start(self, leadership: Leadership) -> None:
        stdin = subprocess.DEVNULL if os.isatty(0) else None  # the terminal belongs to our session
        self._leadership, self._ending, self._kill_at = leadership, False, inf
        self._forwarded, self._started_at = set(), now()
        self._watch(None)
        try:
            self._child = Child(
                self._command,
                environ=self._environ,
                stdin=stdin,
                mark=self._mark,
                on_exit=lambda _: self._signals.wake(),
            )
        except OSError as error:
            self._watchdog.release(self._mark)
            self._on_start_failed(error)
            return
        self._watch(self._child.pid)
        self._stderr.say(f"this pod is the leader: started {self._name} (pid {self._child.pid})")

    def _on_start_failed(self, error: OSError) -> None:
        problem = f"cannot run {self._command[0]!r}: {error.strerror or error}"
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            self._back_off(problem)  # a shortage that may pass
            return
        self._code = NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN
        self._stderr.warn(problem)

    def _end(self, child: Child) -> None:
        """Leadership is lost: send SIGTERM, and SIGKILL after the grace period."""
        if not self._ending:
            self._ending, self._kill_at = True, now() + self._grace
            self._watchdog.watch(self._mark, child.pid, self._kill_at + WATCHDOG_DELAY)
            child.terminate()
            self._stderr.say(f"leadership lost: sending SIGTERM to {self._name} (pid {child.pid})")
        if now() >= self._kill_at:
            self._kill_at = inf
            child.kill()
            self._stderr.say(f"{self._name} did not end within {self._grace:g} s: sending SIGKILL")

    def _on_child_ended(self, child: Child) -> None:
        returncode = child.returncode
        assert returncode is not None
        self._waiting_since, self._may_warn = now(), True
        what = f"{self._name} ended ({describe_exit(returncode)})"
        if self._asked_to_end is not None or -returncode in self._forwarded:
            self._code = exit_status(returncode)
        elif self._ending:
            self._stderr.say(f"{what}; waiting for leadership")
            self._failures, self._not_before = 0, -inf
        elif returncode == 0 or not self._restart:
            self._code = exit_status(returncode)
        else:
            self._back_off(what)
        if self._code is not None:
            self._stderr.say(what)

    def _back_off(self, what: str) -> None:
        if now() - self._started_at >= HEALTHY_LIFE:
            self._failures = 0
        pause = min(MAX_RESTART_DELAY, 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._not_before = now() + pause
        self._stderr.say(f"{what}; restarting in {pause:g} s if still the leader")

    # --- signals and other processes -------------------------------------------------

    def _handle(self, number: int) -> None:
        """Handle one message: forward it to the command if it is a signal."""
        if number in (WAKE_UP, signal.SIGCHLD):
            return
        child = self._child
        if number == signal.SIGTSTP:
            self._suspend(child)
            return
        if number in self._ending_signals:
            self._asked_to_end = number
        if child is None:
            return
        if number == signal.SIGCONT and self._leadership is not None and self._leadership.ended:
            self._end(child)  # before it continues
        self._forwarded.add(number)
        child.send(number)

    def _suspend(self, child: Child | None) -> None:
        """Ctrl-Z: stop the command as well, because nothing would end it while we are stopped."""
        if child is not None:
            child.send(signal.SIGSTOP)
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # returns after SIGCONT
        if child is None:
            return
        if self._leadership is not None and self._leadership.ended:
            self._end(child)
        child.send(signal.SIGCONT)

    def _check_processes(self) -> None:
        if self._watchdog.has_died():
            self._stderr.warn(
                "the watchdog was killed: if this process is killed too, processes that the "
                "command started may survive"
            )
        if os.getpid() == 1:
            reap_orphans({self._watchdog.pid, 0 if self._child is None else self._child.pid})

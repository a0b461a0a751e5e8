"""`Elector`: what users hold. Reading is lock-free; everything else hands over to a life."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from math import inf, isfinite
from threading import Thread
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from . import forks
from .callbacks import adapt
from .cell import Cell
from .clock import WHICH, now, read_clock
from .dispatch import Kind, Registry
from .errors import ConfigurationError, ElectorUnavailableError
from .failures import ExchangeFailed
from .guard import Guard
from .journal import Journal
from .life import Life, join_all
from .model import Counts, Snapshot, State, Status
from .poll import consult
from .rules import leader_at, state_at
from .seat import open_seat
from .settings import resolve
from .sidecar import Sidecar
from .tasks import LeaderTask

__all__ = ["Elector", "come_alive", "step_down"]

EXIT_PATIENCE = 2.0
"""Seconds that the interpreter's exit waits for ``on_demoted`` callbacks and leader tasks."""

WITHIN_A_STOP = 0.1
"""Seconds that a `stop` waits which has interrupted another one of the same thread."""

ElectedCallback = TypeVar("ElectedCallback", bound=Callable[..., object])

_alive: weakref.WeakSet[Elector] = weakref.WeakSet()
"""Every elector of this process, for the fork hook and for the interpreter's exit."""

_started: set[Elector] = set()
"""Those that were started and not stopped: kept, whether or not anybody else keeps them."""


class Elector:
    """Knows who leads, and tells.

    All arguments are optional; what is not given comes from ``ELECTOR_THREAD_<NAME>``
    in the environment, then from the default.

    get_url, sse_url: where to ask and where to listen. Default: the platform's
        ``ELECTOR_GET_URL`` and ``ELECTOR_SSE_URL`` (or the legacy ``ELECTOR_PATH``).
        Giving either switches the environment's URLs off; a ``get_url`` without
        ``sse_url`` means polling alone.
    identity: the name that means "us". Default: this host's name.
    poll_interval: seconds between GETs while there is no stream (5).
    reconcile_interval: seconds between GETs while there is one (15).
    grace_period: seconds for which one confirmation holds (45). Lost contact is not
        lost leadership until then; afterwards the state is unknown, and unknown
        never leads. Must exceed the larger interval plus a request.
    request_timeout: seconds for one whole exchange, from connecting to the last byte (2).
    scope: ``"pod"``: every process of the leader pod leads. ``"process"``: also
        exactly one process of this pod.
    lock_path: the file that the pod's processes lock for ``scope="process"``.
        Default: one in the temporary folder, named for the user and the identity.
    when_unconfigured: without any URL, ``"error"`` raises; ``"lead"`` and
        ``"follow"`` are for local work and assume the answer.

    Raises `ConfigurationError`, naming the setting, for anything missing or wrong.

    Example::

        elector = Elector()

        @elector.on_elected
        def begin():
            scheduler.start()

        @elector.on_demoted
        def end():
            scheduler.shutdown()

        elector.start()
    """

    # Cross-thread attributes. `_cell` is replaced only after a fork, when there is
    # one thread. `_life`, `_ending`, `_sidecar`, `_wanted`, `_ever_stopped` and
    # `_dormant` are written under `_lifecycle`; the flags are also read without it,
    # where a stale value only means a look at the lock.

    def __init__(
        self,
        *,
        get_url: str | None = None,
        sse_url: str | None = None,
        identity: str | None = None,
        poll_interval: float | None = None,
        reconcile_interval: float | None = None,
        grace_period: float | None = None,
        request_timeout: float | None = None,
        scope: str | None = None,
        when_unconfigured: str | None = None,
        lock_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._settings = resolve(
            get_url=get_url,
            sse_url=sse_url,
            identity=identity,
            poll_interval=poll_interval,
            reconcile_interval=reconcile_interval,
            grace_period=grace_period,
            request_timeout=request_timeout,
            scope=scope,
            when_unconfigured=when_unconfigured,
            lock_path=lock_path,
        )
        self._registry = Registry()
        self._tasks: tuple[LeaderTask, ...] = ()  # replaced as a whole, under `_lifecycle`
        self._leaving: tuple[LeaderTask, ...] = ()  # the same: removed, but may still run
        self._wanted = False  # started, and not stopped since
        self._stops = threading.local()  # each thread's calls of `stop`, one within another
        self._ever_stopped = False  # since the last start, that is; a fork does not undo it
        self._be_born()
        _alive.add(self)

    def _be_born(self) -> None:
        """Everything that a process must not share with its parent. Takes no lock."""
        grace = self._settings.grace_period if self._settings.configured else inf
        exclusive = self._settings.scope == "process"
        self._cell = Cell(
            Snapshot(self._settings.identity, grace, exclusive=exclusive, seated=not exclusive)
        )
        self._journal = Journal(self._settings.where)
        # protects the attributes named above; never held while waiting. Re-entrant, since
        # a signal handler that calls `stop` may interrupt any of its holders
        self._lifecycle = threading.RLock()
        self._life: Life | None = None
        self._ending: Life | None = None
        self._sidecar: Sidecar | None = None
        self._dormant = False  # wanted, but not started in this process yet: see `_come_alive`
        self._has_waited = False  # a guarded call has waited for the first word, in vain

    # --- life ----------------------------------------------------------------------

    def start(self) -> Self:
        """Start the threads, unless they run already; returns the elector itself.

        Never blocks, and never fails because the elector sidecar is away: until
        it is heard of, the state is unknown. In a server's master that only forks
        workers (see `elector_thread.integrations`) nothing starts but in the workers.
        Raises `ConfigurationError` if ``scope="process"`` cannot have its lock file.
        """
        forks.notice()
        self._renew_if_patched()
        with self._lifecycle:
            self._wanted, self._dormant = True, forks.is_held_back()
            was_stopped = self._ever_stopped
            _started.add(self)
            try:
                if self._life is None and not self._dormant:
                    self._begin_life()
                if not self._wanted:  # a signal handler has said stop, before there was a life
                    self._begin_stop()
            except BaseException:
                self._begin_stop()
                self._ever_stopped = was_stopped  # it failed to start: nobody has stopped it
                raise
        if self._dormant:
            self._journal.held_back()
        return self

    def _begin_life(self) -> None:
        """Make and start the threads. Under `_lifecycle`.

        A signal handler may call `stop` meanwhile: it finds the life as soon as there is one.
        """
        claim = open_seat(self._settings) if self._settings.scope == "process" else None
        self._ever_stopped = self._has_waited = False
        self._life = life = Life(
            self._settings,
            self._own_sidecar(),
            self._cell,
            self._registry,
            self._journal,
            claim=claim,
            predecessor=None if self._ending is None else self._ending.dispatch_thread,
            task_threads=self._task_threads,
        )
        life.start()

    def stop(self, timeout: float | None = 5.0) -> bool:
        """Step down and end the threads. Idempotent; `start` begins anew.

        The state is unknown, and every leadership over, before this waits for
        anything. Then it waits at most ``timeout`` seconds (None: as long as it
        takes) for ``on_demoted`` callbacks and leader tasks to end; False if one did
        not. Called from a callback it does not wait for that callback. Called by a signal
        handler that has interrupted another stop it waits for next to nothing: that one may
        hold what the threads need in order to end, and goes on only afterwards.
        """
        give_up = inf if timeout is None else now() + timeout
        interrupted = getattr(self._stops, "under_way", 0)
        if interrupted:
            give_up = min(give_up, now() + WITHIN_A_STOP)
        self._stops.under_way = interrupted + 1
        try:
            ending = self._begin_stop()
            return join_all([*(ending.threads if ending else ()), *self._task_threads()], give_up)
        finally:
            self._stops.under_way = interrupted

    def _begin_stop(self) -> Life | None:
        forks.notice()
        with self._lifecycle:
            self._wanted = self._dormant = False
            _started.discard(self)
            self._ever_stopped = True
            # whatever a signal handler that raises cuts short here, the next call completes
            life = self._life
            if life is not None:
                self._ending = life
            if self._ending is not None:
                self._ending.end()
            else:
                self._cell.end_epoch()  # a refresh may have made us leader
            self._life = None
            sidecar, self._sidecar = self._sidecar, None
            if sidecar is not None:
                sidecar.abort()
                if life is None:  # else its poll thread does
                    sidecar.close()
            return self._ending

    def post_fork(self) -> None:
        """Come alive in a forked child, if the elector was running in its parent.

        A child does so by itself at its first use; a server's fork hook may call
        this to have it earlier. In a process that was not forked it does nothing.
        """
        self._come_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- reading, without a lock -----------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this process leads right now. Costs nanoseconds; ask as often as you like.

        True only while the newest confirmation names this identity and is younger
        than the grace period, by a clock that counts suspended time.
        """
        if read_clock(*WHICH) < self._cell.snapshot.lead_until:  # the cell's clock, no detour
            return True
        if self._dormant:
            self._come_alive()
        return False

    @property
    def state(self) -> State:
        """LEADER, FOLLOWER or UNKNOWN, right now."""
        return state_at(self._look(), self._cell.now())

    @property
    def leader(self) -> str | None:
        """The leader's name, None while it is not known."""
        return leader_at(self._look(), self._cell.now())

    @property
    def identity(self) -> str:
        """The name that means "us"."""
        return self._settings.identity

    def status(self) -> Status:
        """One consistent look at everything, for logs and health endpoints."""
        snapshot, instant, journal = self._look(), self._cell.now(), self._journal
        life = self._life  # looked at once: another thread may stop us meanwhile
        state = state_at(snapshot, instant)
        left = snapshot.known_until - instant
        age = max(0.0, instant - snapshot.confirmed_at)
        return Status(
            state=state,
            is_leader=state is State.LEADER,
            leader=leader_at(snapshot, instant),
            identity=snapshot.identity,
            running=life is not None,
            stream=journal.stream if life is not None else "off",
            age=age if isfinite(age) else None,
            expires_in=left if isfinite(left) and left > 0 else None,
            leadership=snapshot.number if state is State.LEADER else None,
            last_error=journal.last_error,
            scope=self._settings.scope,
            seated=snapshot.seated if self._settings.scope == "process" else None,
            alive=life is None or life.alive,
            counts=self._counts(),
        )

    def _counts(self) -> Counts:
        journal = self._journal
        return Counts(
            elected=self._cell.elected,
            demoted=self._cell.demoted,
            answers=journal.answers,
            failures=journal.failures,
            streams=journal.streams,
            events=journal.events,
            unreadable=journal.unreadable,
            callback_errors=journal.callback_errors,
            overruns=journal.overruns,
        )

    # --- asking and waiting ------------------------------------------------------------

    def refresh(self) -> Status:
        """Ask the elector once, now, and return the status that follows.

        Works whether or not the elector was started, and counts as a confirmation
        like any other. Blocks for a ``request_timeout`` at most, longer only where
        another GET is under way. Before the first election the elector knows nobody:
        that is an answer, and the state stays as it is.

        Raises `ElectorUnavailableError` if there is no usable answer.
        """
        self._come_alive()
        if not self._settings.configured:
            self._cell.hear(self._cell.epoch, [self._assumed_leader()], now())
            return self.status()
        with self._lifecycle:
            sidecar, life, epoch = self._own_sidecar(), self._life, self._cell.epoch
        pulse = None if life is None else life.pulse
        reason: str | None = None
        try:
            if consult(sidecar, self._cell, self._journal, epoch, pulse) and life is not None:
                life.hurry_stream()
        except ExchangeFailed as failure:
            reason = "stopped meanwhile" if sidecar.aborted else str(failure)
        if reason is not None:
            raise ElectorUnavailableError(f"no answer from {self._settings.where}: {reason}")
        return self.status()

    def wait_until_leader(self, timeout: float | None = None) -> bool:
        """Wait until this process leads; False after ``timeout`` seconds or when stopped.

        Starts an elector that was never started.
        """
        return self._wait_for(lambda s, instant: state_at(s, instant) is State.LEADER, timeout)

    def wait_until_known(self, timeout: float | None = None) -> bool:
        """Wait until it is known who leads; False after ``timeout`` seconds or when stopped.

        Starts an elector that was never started.
        """
        return self._wait_for(lambda s, instant: state_at(s, instant) is not State.UNKNOWN, timeout)

    def _wait_for(self, wanted: Callable[[Snapshot, float], bool], timeout: float | None) -> bool:
        self._come_alive()
        if self._is_stopped():
            return wanted(self._cell.snapshot, self._cell.now())
        self.start()
        return self._cell.wait_for(wanted, timeout)

    def may_hear_first_word(self) -> bool:
        """For the guard: whether nothing is known only because it is early days."""
        if self._has_waited or self._is_stopped() or self.state is not State.UNKNOWN:
            return False
        return self._life is None or self._cell.snapshot.confirmed_at == -inf

    def await_first_word(self, timeout: float) -> None:
        """For the guard: wait for the elector's first word, in vain only once in a life."""
        if not self.wait_until_known(timeout):
            self._has_waited = True

    # --- being told ------------------------------------------------------------------

    def on_elected(self, callback: ElectedCallback) -> ElectedCallback:
        """Call ``callback(leadership)`` or ``callback()`` whenever this process begins to lead.

        Usable as a decorator; returns ``callback``. Callbacks run on one thread, in
        the order of registration, never two at once; `is_leader` is already true. One
        registered while leading is told at once. What it raises is logged and
        contained. Raises TypeError for what cannot be called so, or is async.
        """
        self._registry.add(Kind.ELECTED, callback, adapt(callback, "on_elected"))
        self._cell.touch()
        return callback

    def on_demoted(self, callback: ElectedCallback) -> ElectedCallback:
        """Call ``callback(leadership)`` or ``callback()`` whenever an announced leadership is over.

        Exactly once for each; `is_leader` is already false. Otherwise as `on_elected`.
        """
        self._registry.add(Kind.DEMOTED, callback, adapt(callback, "on_demoted"))
        return callback

    def on_leader_change(self, callback: ElectedCallback) -> ElectedCallback:
        """Call ``callback(LeaderChange(previous, current))`` for every new leader, ours or not.

        The first one learnt has ``previous`` None; the same leader again is no change.
        While a handler is slow, changes beyond a few fold into one. Otherwise as
        `on_elected`.
        """
        self._registry.add(Kind.CHANGED, callback, adapt(callback, "on_leader_change"))
        self._cell.touch()
        return callback

    def while_leader(self, fn: ElectedCallback) -> ElectedCallback:
        """Run ``fn(leadership)`` in a thread of its own for each leadership.

        Never two at once: one that outlives its leadership delays the next, so it
        should watch ``leadership.wait(seconds)`` or ``leadership.ended``. If it raises
        it is called again, with a growing pause. If it returns, that was all for
        this leadership. Usable as a decorator; returns ``fn``.
        """
        call = adapt(fn, "while_leader")
        with self._lifecycle:
            before = [t.thread for t in self._leaving if t.fn == fn and t.thread is not None]
            task = LeaderTask(fn, call, lambda: self._journal, before)
            self._tasks = (*self._tasks, task)
        self._registry.add(Kind.ELECTED, task.offer, task.offer)
        self._cell.touch()
        return fn

    def remove(self, callback: Callable[..., object]) -> bool:
        """Take a callback or a ``while_leader`` function out; False if it was not registered.

        Does not wait for a call that is under way.
        """
        gone = [task for task in self._tasks if task.fn == callback]
        with self._lifecycle:
            self._tasks = tuple(task for task in self._tasks if task not in gone)
            self._leaving = (*(t for t in self._leaving if t.thread is not None), *gone)
        for task in gone:
            task.remove()
            self._registry.remove(task.offer)
        return self._registry.remove(callback) or bool(gone)

    @property
    def only_on_leader(self) -> Guard:
        """The guard, bound to this elector: see `elector_thread.only_on_leader`."""
        return Guard(self)

    # --- inside ----------------------------------------------------------------------

    def _look(self) -> Snapshot:
        """What is known. In a forked child the first look finds nothing, and starts the threads."""
        forks.notice()
        snapshot = self._cell.snapshot
        self._come_alive()
        return snapshot

    def _come_alive(self) -> None:
        """In a child of a process where we were running or held back: start.

        Whoever only wants to read is not to be troubled with what hinders that:
        it is logged, the state stays unknown, and the next use tries again.
        """
        forks.notice()
        if not self._dormant or forks.is_held_back():
            return
        try:
            self.start()
        except (ConfigurationError, RuntimeError) as error:
            self._dormant = True
            self._journal.start_failed(error)

    def _is_stopped(self) -> bool:
        return (self._ever_stopped and self._life is None) or forks.is_held_back()

    def _renew_if_patched(self) -> None:
        """gevent patched threading since our locks were made: make them anew, as greenlets need.

        A real lock that one greenlet holds stops them all. Only before there are threads.
        """
        if self._life is None and type(self._lifecycle) is not type(threading.RLock()):
            self._after_fork()

    def _own_sidecar(self) -> Sidecar:
        """The connection holder of this life, or between lives. Under `_lifecycle`."""
        if self._sidecar is None:
            self._sidecar = Sidecar(self._settings)
        return self._sidecar

    def _assumed_leader(self) -> str | None:
        return self._settings.identity if self._settings.when_unconfigured == "lead" else None

    def _task_threads(self) -> list[Thread]:
        tasks = (*self._tasks, *self._leaving)
        return [thread for task in tasks if (thread := task.thread) is not None]

    def _after_fork(self) -> None:
        """In a forked child: UNKNOWN, no inherited lock, no shared socket, no thread yet."""
        self._cell.void_after_fork()
        if self._sidecar is not None:
            self._sidecar.abandon()
        self._registry.reset_lock_after_fork()
        self._leaving = ()
        for task in self._tasks:
            task.reset_after_fork()
        self._be_born()
        self._dormant = self._wanted

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an Elector cannot be copied or pickled: it owns threads and connections; make "
            "one in each process (a fork has its own by itself)"
        )

    def __repr__(self) -> str:
        state = state_at(self._cell.snapshot, self._cell.now()).name
        return f"<Elector {self.identity!r} {state} at {self._settings.where}>"


def come_alive() -> None:
    """For servers' hooks: `Elector.post_fork` for every elector of this process."""
    for elector in list(_alive):
        elector.post_fork()


def step_down(timeout: float) -> bool:
    """For servers' hooks and the interpreter's exit: stop every elector of this process.

    All step down first; then at most ``timeout`` seconds pass until their callbacks
    and leader tasks have ended; False if some have not.
    """
    give_up = now() + timeout
    ending = [(elector, elector._begin_stop()) for elector in list(_alive)]
    threads: list[Thread] = []
    for elector, life in ending:
        threads += [*(life.threads if life else ()), *elector._task_threads()]
    return join_all(threads, give_up)


def _after_fork_in_child() -> None:
    for elector in list(_alive):
        elector._after_fork()


forks.in_child(_after_fork_in_child)
atexit.register(step_down, EXIT_PATIENCE)

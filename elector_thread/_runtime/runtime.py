"""What one process has of an elector: its settings, its phase, and its present run.

A forked child gets a new `Runtime` in place of the inherited one, so that every lock, socket
and thread in it is its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from math import inf

from .._dispatch.log import Log
from .._dispatch.registry import Registry
from .._dispatch.worker import Worker, wait_for_all
from .._state.clock import CLOCK, Clock, is_held_here, now
from .._state.health import Health
from .._state.model import Snapshot
from .._state.occurrences import Event, LeaseFailed
from .._state.rules import is_known, unknowing
from .._state.store import Store
from ..errors import ConfigurationError, ElectorError, ElectorUnavailableError
from ..settings import Settings
from . import forks, podlock, podwork
from .asking import Asking, ask_poll
from .phases import Phase, Trigger, next_phase
from .run import Client, Run

__all__ = ["Runtime", "end_all"]

BRIEFLY = 0.1
"""Seconds that a stop waits for threads which run no user code (all end at once, except one that
is looking up a host name), and for anything in a signal handler that interrupted a stop."""


NOTHING_KNOWN = Snapshot("", inf)
"""Until the settings are known."""


class Runtime:
    """One elector in one process.

    `_lock` protects the phase and everything that a start makes and a stop ends; it is
    not held while waiting. Re-entrant, because a signal handler may call `stop` at any
    point. `phase` and `store` are also read without it; `store` is replaced by each stop,
    after the old one was closed, so that nothing of the past can count later.
    `_settings` is None until they are first needed, and read without the lock.

    settings: these, or a function that reads them when they are first needed.
    """

    def __init__(
        self,
        settings: Settings | Callable[[], Settings],
        registry: Registry | None = None,
        phase: Phase = Phase.IDLE,
        clock: Clock = CLOCK,
    ) -> None:
        self.phase = phase
        self.log = Log(lambda: (self.store.snapshot, self.store.now()))
        self.health = Health(self.log.observe)
        inherited = Registry(self.health) if registry is None else registry
        self.registry = inherited.renewed(self.health)
        self.store = Store(NOTHING_KNOWN, clock, self.health.record)
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        self._source = settings if callable(settings) else lambda: settings
        self._run: Run | None = None  # the newest one
        self._asking = Asking(self.health)  # for `refresh` without threads
        if not callable(settings):
            self._adopt(settings)

    # --- settings ------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings; see `resolve`."""
        return self.resolve()

    def resolve(self) -> Settings:
        """Read the settings unless they are known. Raises `ConfigurationError`."""
        while (settings := self._settings) is None:
            source = self._source
            found = source()  # without the lock: it may read a framework's settings
            with self._lock:
                if self._settings is None and self._source is source:
                    self._adopt(found)
        return settings

    @property
    def resolved(self) -> bool:
        """Whether the settings were read already."""
        return self._settings is not None

    @property
    def used(self) -> bool:
        """Whether it was ever started or stopped, here or in a parent process."""
        return self.phase not in (Phase.IDLE, Phase.UNUSED)

    def configure(self, source: Callable[[], Settings], *, at_once: bool) -> None:
        """Use other settings, read now or when they are first needed.

        Raises `ElectorError` if it is too late, and what ``source`` raises.
        """
        with self._lock:
            if self.used:
                raise ElectorError(
                    "too late to change the settings of the process-wide elector, which is in use "
                    "already; configure it before the first guarded call or question"
                )
            settings = source() if at_once else None
            self._source, self._settings = source, None
            self.store.reset(NOTHING_KNOWN)
            if settings is not None:
                self._adopt(settings)

    def _adopt(self, settings: Settings) -> None:
        needs_lock = settings.scope == "process"
        self.store.reset(
            Snapshot(
                settings.identity,
                settings.grace_period if settings.configured else inf,
                needs_lock=needs_lock,
                holds_lock=not needs_lock,
                needs_lease=settings.lease is not None,
            )
        )
        self.log.where = settings.where
        self._settings = settings  # last: readers without the lock find all of it

    # --- phases --------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads unless they run.

        Raises `ConfigurationError` for bad settings or if the lock file cannot be opened, and
        RuntimeError if the system refuses a thread.
        """
        self._enter(Trigger.HOLD if forks.is_held_back() else Trigger.START)
        self.registry.enable()
        self.store.wake()
        if self.phase is Phase.DORMANT:
            self.log.held_back(forks.when_workers_start)

    def use(self, trigger: Trigger = Trigger.QUESTION) -> None:
        """The state is read: start in a forked child whose parent's elector ran.

        There, a reader should not have to handle what prevents that: it is logged, the state
        stays unknown, and the next use tries again. The first question to the process-wide
        elector raises it.
        """
        before = self.phase
        if next_phase(before, trigger) is before or forks.is_held_back():
            return
        try:
            self._enter(trigger)
        except (ConfigurationError, RuntimeError) as error:
            if before is not Phase.DORMANT:
                raise
            self.log.start_failed(error)

    def wait_for(self, wanted: Callable[[Snapshot, float], bool], timeout: float | None) -> bool:
        """Wait for a state, having started an elector that was never started.

        A stopped elector is not started; its state is checked once. The store that is waited
        for is the one of the phase that was entered, so a stop ends the wait.
        """
        store = self.store
        if not forks.is_held_back():
            self.use(Trigger.WAKE)
            store = self._enter(Trigger.WAIT)
        if self.phase is not Phase.RUNNING:
            timeout = 0.0
        return store.wait_for(wanted, timeout)

    def wait_for_first_answer(self, timeout: float) -> None:
        """For guarded calls: wait until the leader is known, or ``timeout`` after the start."""
        run = self._run
        if self.phase is Phase.RUNNING and run is not None:
            timeout = run.began + timeout - now()
        self.wait_for(is_known, timeout)

    def may_wait_for_first_answer(self, timeout: float) -> bool:
        """Whether the leader is unknown only because the elector was started just now."""
        run, store = self._run, self.store
        # one that is still dormant when it was asked could not start, which was logged
        if self.phase in (Phase.STOPPED, Phase.DORMANT) or forks.is_held_back():
            return False
        if is_known(store.snapshot, store.now()):
            return False
        if self.phase is not Phase.RUNNING or run is None:
            return True
        return store.snapshot.leader is None and now() < run.began + timeout

    def stop(self, timeout: float | None) -> bool:
        """Step down, and wait for user code to end; see `Elector.stop`."""
        return end_all([self], timeout)

    def begin_stop(self) -> list[Worker]:
        """Step down without waiting; the threads to wait for."""
        happened: list[Event] = []
        with self._lock:
            self._step_down(happened)
            run = self._run  # in here: not the next one
            awaited = self.registry.task_workers() if run is None else run.awaited()
        self._report(happened)
        return awaited

    def _step_down(self, happened: list[Event]) -> None:
        """With the lock held. Adds to ``happened`` what is to be reported without it."""
        self.phase = next_phase(self.phase, Trigger.STOP)
        old = self.store
        happened += old.close()
        self.store = Store(unknowing(old.snapshot), old.clock, old.record)
        for client in self._clients():
            client.cancel()

    def _report(self, happened: list[Event]) -> None:
        for event in happened:
            self.health.record(event)

    def for_child(self) -> Runtime:
        """In a forked child: what takes this one's place. Takes no lock, starts no thread.

        Every leadership of the parent is over here, also for those who hold its token.
        """
        self.store.void()
        for client in self._clients():
            client.abandon()
        phase = next_phase(self.phase, Trigger.FORK)
        return Runtime(self._settings or self._source, self.registry, phase, self.store.clock)

    def is_patched_since(self) -> bool:
        """Whether gevent has replaced threading since our locks were made, and nothing runs."""
        return self.phase is not Phase.RUNNING and type(self._lock) is not type(threading.RLock())

    def _clients(self) -> list[Client]:
        """Everything of ours that may hold a connection."""
        return [*self._asking.clients(), *([] if self._run is None else self._run.clients())]

    def _enter(self, trigger: Trigger) -> Store:
        """Change the phase and make what it needs, in one step; the store of that phase.

        Raises `ConfigurationError`, before anything has changed, for bad settings.
        """
        if next_phase(self.phase, trigger) is not self.phase:
            self.resolve()
        happened: list[Event] = []
        try:
            with self._lock:
                store, run = self.store, self._change_phase(trigger, happened)
        finally:  # without the lock: observers and log handlers are user code
            self._report(happened)
        if run is not None:
            if not self.settings.configured:
                self._assume_leader(store)
            if run.lease_problem is not None:
                self.health.record(LeaseFailed(run.lease_problem, permanent=True, seconds=0.0))
        return store

    def _change_phase(self, trigger: Trigger, happened: list[Event]) -> Run | None:
        """The run that has begun, if one has. happened: see `_step_down`."""
        before, store = self.phase, self.store
        after = next_phase(before, trigger)
        if after is before or after is not Phase.RUNNING:
            self.phase = after
            return None
        predecessor = None if self._run is None else self._run.dispatch
        # before the phase: `alive` must not judge this run by an earlier one's threads
        run = self._run = Run(self.settings, store, self.health, self.registry, predecessor)
        self.phase = after
        try:
            run.start()
        except BaseException:
            self._step_down(happened)
            self.phase = before
            raise
        if store.closed:  # by a signal handler that called `stop` meanwhile
            self.phase = Phase.STOPPED
        return run

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted a holder of a lock.

        One of ours or of the log's handlers: the threads that run user code may need it.
        """
        return (
            is_held_here(self._lock)
            or self.store.is_interrupted_here()
            or self.health.is_interrupted_here()
            or self.log.is_interrupted_here()
            or podlock.is_interrupted_here()
            or podwork.is_interrupted_here()
        )

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The threads of the newest run."""
        return () if self._run is None else self._run.workers

    @property
    def alive(self) -> bool:
        """See `Status.alive`."""
        run = self._run
        if self.phase is not Phase.RUNNING or run is None or run.alive:
            return True
        return self.phase is not Phase.RUNNING  # its threads were told to end meanwhile

    # --- asking --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask once, now. Raises `ElectorUnavailableError` without a usable answer."""
        self.use(Trigger.WAKE)
        if not self.settings.configured:
            self._assume_leader(self.store)
            return
        with self._lock:
            store, run, running = self.store, self._run, self.phase is Phase.RUNNING
        if running and run is not None and run.poll is not None:
            failure = ask_poll(run.poll, self.settings)
        else:
            failure = self._asking.ask(self.settings, store)
        if failure is not None:
            raise ElectorUnavailableError(f"no answer from {self.settings.where}: {failure}")

    def _assume_leader(self, store: Store) -> None:
        """Without a sidecar to ask, assume what ``when_unconfigured`` says."""
        leads = self.settings.when_unconfigured == "lead"
        store.confirm(self.settings.identity if leads else None, now())


def end_all(runtimes: Iterable[Runtime], timeout: float | None) -> bool:
    """Stop all of them: each steps down first, then their user code is waited for."""
    give_up = inf if timeout is None else now() + timeout
    runtimes = list(runtimes)
    interrupted = any(runtime.is_interrupted_here() for runtime in runtimes)
    working = [thread for runtime in runtimes for thread in runtime.begin_stop()]
    if interrupted:  # its holder continues only after this
        give_up = min(give_up, now() + BRIEFLY)
    ended = wait_for_all(working, give_up)
    rest = [worker for runtime in runtimes for worker in runtime.workers]
    _join([*working, *rest], min(give_up, now() + BRIEFLY))
    return ended


def _join(workers: Iterable[Worker], give_up: float) -> None:
    """Wait for the ends of the threads themselves, which nothing depends on."""
    for worker in workers:
        if not worker.is_current:
            worker.thread.join(max(0.0, give_up - now()))

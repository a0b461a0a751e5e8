"""What one process runs of an elector: its phase, its threads and what they share.

Nothing else makes threads. A forked child gets a new `Runtime` in place of the inherited
one, so that every lock, socket and thread in it is its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Protocol

from .._dispatch.dispatcher import Dispatcher
from .._dispatch.log import Log
from .._dispatch.registry import Registry
from .._dispatch.worker import Worker, wait_for_all
from .._sidecar.calls import SidecarClient
from .._sidecar.lease import LeaseClient
from .._state.clock import CLOCK, Clock, is_held_here, now
from .._state.health import Health
from .._state.model import Snapshot, State
from .._state.occurrences import LeaseFailed
from .._state.rules import state_at, unknowing
from .._state.store import Store
from ..errors import ConfigurationError, ElectorError, ElectorUnavailableError
from ..settings import Settings
from . import forks, podlock, podwork
from .asking import Asking, ask_poll
from .phases import Phase, Trigger, next_phase
from .podlock import LockKeeper, open_lock
from .podwork import WorkMark
from .poll import Poll
from .stream import Stream
from .verifier import Verifier

__all__ = ["Runtime", "end_all"]

BRIEFLY = 0.1
"""Seconds that a stop waits for threads which run no user code (all end at once, except one that
is looking up a host name), and for anything in a signal handler that interrupted a stop."""


NOTHING_KNOWN = Snapshot("", inf)
"""Until the settings are known."""


class _Body(Protocol):
    def run(self) -> None: ...


class Runtime:
    """The threads of one elector in one process, and its phase.

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
        self._started_at = -inf  # when the threads were started
        self.workers: tuple[Worker, ...] = ()  # the threads that were started
        self._dispatch_worker: Worker | None = None
        self._lock_worker: Worker | None = None
        self._dispatcher: Dispatcher | None = None
        self._client: SidecarClient | None = None
        self._lease_client: LeaseClient | None = None
        self._lease_problem: str | None = None  # of a start, until it was reported
        self._poll: Poll | None = None
        self._asking = Asking(self.health, self._lock)  # for `refresh` without threads
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
                    "configure() was called too late: the process-wide elector is in use "
                    "already; call it before the first guarded call or question"
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
        if self.phase is Phase.RUNNING:
            timeout = self._started_at + timeout - now()
        self.wait_for(_is_known, timeout)

    def may_wait_for_first_answer(self, timeout: float) -> bool:
        """Whether the leader is unknown only because the elector was started just now."""
        if self.phase is Phase.STOPPED or forks.is_held_back():
            return False
        store = self.store
        if state_at(store.snapshot, store.now()) is not State.UNKNOWN:
            return False
        if self.phase is not Phase.RUNNING:
            return True
        return store.snapshot.leader is None and now() < self._started_at + timeout

    def stop(self, timeout: float | None) -> bool:
        """Step down, and wait for user code to end; see `Elector.stop`."""
        return end_all([self], timeout)

    def begin_stop(self) -> list[Worker]:
        """Step down without waiting; the threads to wait for."""
        with self._lock:
            self.phase = next_phase(self.phase, Trigger.STOP)
            old = self.store
            happened = old.close()
            self.store = Store(unknowing(old.snapshot), old.clock, old.record)
            for client in self._clients():
                client.cancel()
            working = self._working(self._dispatch_worker)  # in here: of this run, not the next
            if self._lock_worker is not None and not any(worker.is_current for worker in working):
                working.append(self._lock_worker)  # it waits for the others, so not from them
        for event in happened:
            self.health.record(event)
        return working

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

    def _clients(self) -> list[SidecarClient | LeaseClient]:
        """Everything of ours that may hold a connection."""
        own = (self._client, self._lease_client)
        return [*self._asking.clients(), *(client for client in own if client is not None)]

    def _enter(self, trigger: Trigger) -> Store:
        """Change the phase and make what it needs, in one step; the store of that phase.

        Raises `ConfigurationError`, before anything has changed, for bad settings.
        """
        if next_phase(self.phase, trigger) is not self.phase:
            self.resolve()
        store = self._change_phase(trigger)
        problem, self._lease_problem = self._lease_problem, None
        if problem is not None:  # reported here, without the lock: log handlers are user code
            self.health.record(LeaseFailed(problem, permanent=True, seconds=0.0))
        return store

    def _change_phase(self, trigger: Trigger) -> Store:
        with self._lock:
            before, store = self.phase, self.store
            after = next_phase(before, trigger)
            if after is before or after is not Phase.RUNNING:
                self.phase = after
                return store
            self._forget_earlier_run()
            self.phase = after
            try:
                self._make_threads(store)
            except BaseException:
                self.begin_stop()
                self.phase = before
                raise
            if store.closed:  # by a signal handler that called `stop` meanwhile
                self.phase = Phase.STOPPED
            return store

    def is_interrupted_here(self) -> bool:
        """Whether this is a signal handler that has interrupted a holder of a lock.

        One of ours or of the log's handlers: the threads that run user code may need it.
        """
        return (
            is_held_here(self._lock)
            or self.health.is_interrupted_here()
            or self.log.is_interrupted_here()
            or podlock.is_interrupted_here()
            or podwork.is_interrupted_here()
        )

    # --- threads -------------------------------------------------------------------------

    def _make_threads(self, store: Store) -> None:
        """Start the threads. Under the lock; a thread that finds its store closed ends at once."""
        settings = self.settings
        claim = open_lock(settings) if settings.scope == "process" else None
        try:
            bodies = self._make_bodies(store)
            dispatcher = self._make_dispatcher(store)
            dispatch = self._dispatch_worker = self._start_worker("dispatch", dispatcher)
            for name, body in bodies:
                self._start_worker(name, body)
            if claim is not None:
                # of this run alone: a callback may start the next one before the keeper looks
                working = partial(self._working, dispatch)
                keeper = LockKeeper(claim, store, working)
                self._lock_worker = self._start_worker("lock", keeper)
        finally:
            if claim is not None and self._lock_worker is None:
                claim.release()

    def _make_dispatcher(self, store: Store) -> Dispatcher:
        settings = self.settings
        everyone_leads = settings.configured and settings.scope == "pod"
        self._dispatcher = Dispatcher(
            store,
            self.registry,
            self.health,
            overrun_after=settings.poll_interval,
            predecessor=self._dispatch_worker,
            mark=WorkMark(settings) if everyone_leads else None,
        )
        return self._dispatcher

    def _make_bodies(self, store: Store) -> list[tuple[str, _Body]]:
        """What asks the sidecar; without one, assume what ``when_unconfigured`` says."""
        settings = self.settings
        if not settings.configured:
            self._assume_leader(store)
            return []
        self._client = client = SidecarClient(settings)
        self._poll = Poll(settings, client, self._make_verifier(store), store, self.health)
        if settings.sse_url is None:
            return [("poll", self._poll)]
        return [("poll", self._poll), ("stream", Stream(client, store, self.health))]

    def _make_verifier(self, store: Store) -> Verifier | None:
        """For ``verify="lease"``; a start reports at once what makes it impossible."""
        if self.settings.lease is None:
            return None
        settings = self.settings
        client = LeaseClient(self.settings.lease, settings.identity, settings.request_timeout)
        self._lease_client = client
        self._lease_problem = client.problem()
        return Verifier(settings, client, store, self.health)

    def _forget_earlier_run(self) -> None:
        """Before the phase changes: `alive` must not judge this run by an earlier one's threads."""
        self.workers = ()
        self.health.poll_due = inf
        self._dispatcher = self._lock_worker = self._poll = None
        self._started_at = now()

    def _start_worker(self, name: str, body: _Body) -> Worker:
        worker = Worker(name, body.run)
        worker.start()
        self.workers = (*self.workers, worker)  # only now: until then it is not alive
        return worker

    def _assume_leader(self, store: Store) -> None:
        """Without a sidecar to ask, assume what ``when_unconfigured`` says."""
        leads = self.settings.when_unconfigured == "lead"
        store.confirm(self.settings.identity if leads else None, now())

    def _working(self, dispatch: Worker | None) -> list[Worker]:
        """The threads that run user code."""
        return [*([] if dispatch is None else [dispatch]), *self.registry.task_workers()]

    @property
    def alive(self) -> bool:
        """See `Status.alive`. What is late is so by more than the grace period."""
        if self.phase is not Phase.RUNNING:
            return True
        workers, dispatcher, instant = self.workers, self._dispatcher, now()
        if not all(worker.thread.is_alive() for worker in workers):
            return self.phase is not Phase.RUNNING  # they were told to end meanwhile
        late = instant - self.health.poll_due
        if dispatcher is not None:
            late = max(late, dispatcher.held_up(instant))
        return late <= self.settings.grace_period

    # --- asking --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask once, now. Raises `ElectorUnavailableError` without a usable answer."""
        self.use(Trigger.WAKE)
        if not self.settings.configured:
            with self._lock:
                self._assume_leader(self.store)
            return
        with self._lock:
            store, poll, running = self.store, self._poll, self.phase is Phase.RUNNING
        if running and poll is not None:
            failure = ask_poll(poll, self.settings)
        else:
            failure = self._asking.ask(self.settings, store)
        if failure is not None:
            raise ElectorUnavailableError(f"no answer from {self.settings.where}: {failure}")


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


def _is_known(snapshot: Snapshot, instant: float) -> bool:
    return state_at(snapshot, instant) is not State.UNKNOWN

"""One run of an elector: its threads, from a start to a stop, and what they work with."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from .._dispatch.dispatcher import Dispatcher
from .._dispatch.registry import Registry
from .._dispatch.worker import Worker
from .._sidecar.calls import SidecarClient
from .._sidecar.lease import LeaseClient
from .._state.clock import now
from .._state.health import Health
from .._state.store import Store
from ..settings import Settings
from .podlock import LockKeeper, open_lock
from .podwork import WorkMark
from .poll import Poll
from .stream import Stream
from .verifier import Verifier

__all__ = ["Client", "Run"]

Client = SidecarClient | LeaseClient
"""What may hold a connection."""


class Run:
    """The threads of one run. Leader tasks have threads of their own.

    Made and started with the runtime's lock held. `workers`, and what `alive` and `clients`
    read, is written once while the run starts.

    predecessor: the dispatch thread of the run before, whose last callback may still run.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        health: Health,
        registry: Registry,
        predecessor: Worker | None,
    ) -> None:
        self.began = now()
        self.workers: tuple[Worker, ...] = ()  # the threads that were started
        self.poll: Poll | None = None
        self.lease_problem: str | None = None  # what makes it impossible to verify
        self.dispatch = predecessor  # the thread that runs callbacks
        self._settings = settings
        self._store = store
        self._health = health
        self._registry = registry
        self._dispatcher = self._make_dispatcher(predecessor)
        self._keeper: Worker | None = None  # the thread that holds the pod's lock
        self._client: SidecarClient | None = None
        self._lease_client: LeaseClient | None = None
        health.poll_due = inf

    def start(self) -> None:
        """Start the threads; one that finds its store closed ends at once.

        Raises `ConfigurationError` if the lock file cannot be opened, and RuntimeError if the
        system refuses a thread.
        """
        settings = self._settings
        claim = open_lock(settings) if settings.scope == "process" else None
        try:
            bodies = self._make_bodies()
            self.dispatch = self._start_worker("dispatch", self._dispatcher.run)
            for name, body in bodies:
                self._start_worker(name, body)
            if claim is not None:
                keeper = LockKeeper(claim, self._store, self.working)
                self._keeper = self._start_worker("lock", keeper.run)
        finally:
            if claim is not None and self._keeper is None:
                claim.release()

    def clients(self) -> list[Client]:
        """Those that may hold a connection now."""
        return [one for one in (self._client, self._lease_client) if one is not None]

    def working(self) -> list[Worker]:
        """The threads that run user code."""
        dispatch = [] if self.dispatch is None else [self.dispatch]
        return [*dispatch, *self._registry.task_workers()]

    def awaited(self) -> list[Worker]:
        """The threads that a stop waits for. That of the lock waits for the others itself."""
        working = self.working()
        if self._keeper is None or any(worker.is_current for worker in working):
            return working
        return [*working, self._keeper]

    @property
    def alive(self) -> bool:
        """See `Status.alive`. What is late is so by more than the grace period."""
        instant = now()
        if not all(worker.thread.is_alive() for worker in self.workers):
            return False
        late = max(instant - self._health.poll_due, self._dispatcher.held_up(instant))
        return late <= self._settings.grace_period

    def _make_dispatcher(self, predecessor: Worker | None) -> Dispatcher:
        settings = self._settings
        everyone_leads = settings.configured and settings.scope == "pod"
        return Dispatcher(
            self._store,
            self._registry,
            self._health,
            overrun_after=settings.poll_interval,
            predecessor=predecessor,
            mark=WorkMark(settings) if everyone_leads else None,
        )

    def _make_bodies(self) -> list[tuple[str, Callable[[], None]]]:
        """What asks the sidecar; nothing without one."""
        settings, store, health = self._settings, self._store, self._health
        if not settings.configured:
            return []
        self._client = client = SidecarClient(settings)
        self.poll = Poll(settings, client, self._make_verifier(), store, health)
        if settings.sse_url is None:
            return [("poll", self.poll.run)]
        return [("poll", self.poll.run), ("stream", Stream(client, store, health).run)]

    def _make_verifier(self) -> Verifier | None:
        settings = self._settings
        if settings.lease is None:
            return None
        client = LeaseClient(settings.lease, settings.identity, settings.request_timeout)
        self._lease_client = client
        self.lease_problem = client.problem()
        return Verifier(settings, client, self._store, self._health)

    def _start_worker(self, name: str, body: Callable[[], None]) -> Worker:
        worker = Worker(name, body)
        worker.start()
        self.workers = (*self.workers, worker)  # only now: until then it is not alive
        return worker

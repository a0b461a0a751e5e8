"""`FakeElector`: the real state and the real dispatcher, without threads and without a network.

It injects a clock that the test moves, confirms the leader that the test names, and runs
callbacks in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Self, TypeVar

from .._dispatch.callbacks import name_of
from .._dispatch.dispatcher import Dispatcher
from .._dispatch.tasks import adapt_task
from .._runtime.runtime import Runtime
from .._state.clock import Clock, Flag, LoopFlag
from .._state.leadership import Leadership
from .._state.model import LeaseReading, State, Status, TaskStatus
from .._state.store import Store
from ..elector import Elector
from ..errors import ElectorUnavailableError, NotLeaderError
from ..settings import LeaseSettings

__all__ = ["ANOTHER_POD", "FakeElector"]

ANOTHER_POD = "another-pod"
"""The leader when a test only says that this process is not the leader."""

LONGEST_WAIT = 1e5
"""Fake seconds of waiting for the end of a leadership after which it is an error."""

AnyCallback = TypeVar("AnyCallback", bound=Callable[..., object])


class FakeElector(Elector):
    """An elector that a test controls: deterministic, without threads and without a network.

    It offers everything that `Elector` does, under the same rules. `elect`, `demote`,
    `lose_contact` and `advance` simulate the platform and the passage of time; when they
    return, callbacks have run, in the calling thread. Time passes only in `advance`,
    `lose_contact` and ``leadership.wait()``.

    It reads no environment variables, and needs `start` only after a `stop`. Use it from one
    thread at a time.

    leading: True: begins as the leader. False: begins as a follower. None, the default:
        the leader is not known yet, as with a real elector.
    identity: the name that means this pod.
    grace_period: fake seconds for which one confirmation holds.
    verified: as with ``verify="lease"``: each leadership has a ``fence``, which grows from
        one election to the next. By default it is None, as without verification.

    Raises `ConfigurationError`, naming the argument, if one is wrong.

    Example::

        fake = FakeElector()
        fake.on_elected(scheduler.start)
        fake.elect()
        assert scheduler.running
    """

    def __init__(
        self,
        *,
        leading: bool | None = None,
        identity: str = "fake-pod",
        grace_period: float = 45.0,
        verified: bool = False,
    ) -> None:
        interval = grace_period / 4
        super().__init__(
            get_url="http://fake-elector.invalid/",
            identity=identity,
            poll_interval=interval,
            reconcile_interval=interval,
            grace_period=grace_period,
            request_timeout=interval,
            scope="pod",
            verify="none",
            when_unconfigured="error",
        )
        settings = self._runtime.settings
        if verified:
            settings = settings._replace(lease=LeaseSettings(None, None, None))
        self._clock = _FakeClock(self._wait)
        self._runtime = Runtime(settings, clock=self._clock)  # never started
        self._term = 0  # how often the platform has elected a pod
        self._elected: str | None = None  # by the platform, known here or not
        self._in_contact = True
        self._stopped = False
        self._handover_at = inf  # when another pod is elected, in `run_leader_task`
        self._waited = 0.0  # in callbacks, since the last `elect`
        self._tasks: dict[Callable[..., object], Callable[[Any], object]] = {}
        self._served: dict[Callable[..., object], Leadership] = {}  # each task's latest
        self._announcing = False
        self._dispatcher: tuple[Store, Dispatcher] | None = None
        if leading is not None:
            self.elect(identity if leading else ANOTHER_POD)

    # --- the platform and the time -----------------------------------------------------

    def elect(self, name: str | None = None) -> None:
        """The platform elects ``name``; by default, this process. Also restores contact."""
        before, self._elected = self._elected, self.identity if name is None else name
        self._term += self._elected != before
        self._in_contact = True
        self._waited = 0.0
        self._confirm()
        self._announce()

    def demote(self, to: str = ANOTHER_POD) -> None:
        """The platform elects another pod, ``to``."""
        if to == self.identity:
            raise ValueError(
                f"demote: {to!r} is this elector's own identity; use elect() to make it the leader"
            )
        self.elect(to)

    def lose_contact(self, seconds: float | None = None) -> None:
        """Contact to the sidecar is lost, and ``seconds`` pass; by default, the grace period.

        The state stays as it is until the grace period is over; then it is unknown. `elect`
        restores contact.
        """
        self._in_contact = False
        self.advance(self._runtime.settings.grace_period if seconds is None else seconds)

    def advance(self, seconds: float) -> None:
        """Let fake time pass. While there is contact, the leader is confirmed continuously."""
        if not 0 <= seconds < inf:
            raise ValueError(f"seconds: expected a finite number, not negative, got {seconds!r}")
        self._pass(seconds)

    def run_leader_task(self, fn: Callable[..., object], *, seconds: float = 60.0) -> bool:
        """Run ``fn``, which was registered with `while_leader`, for the current leadership.

        ``fn`` has ``seconds`` of fake time, which pass while it waits on its leadership; then
        another pod is elected, so that it ends as it would in production. For a function
        that checks ``leadership.ended`` but never waits on the leadership, no time passes.
        An ``async def`` runs in an event loop of its own, and is cancelled at that end.

        Returns False, without running it, if ``fn`` has run in this leadership already. An
        exception of ``fn`` is raised. Raises `NotLeaderError` without a leadership, and
        ValueError for a function that was not registered with `while_leader`.
        """
        call = self._tasks.get(fn)
        if call is None:
            raise ValueError(f"{name_of(fn)} was not registered with while_leader()")
        leadership = self._runtime.store.leadership
        if leadership is None or leadership.ended:
            raise NotLeaderError(f"{name_of(fn)} runs only on the leader; call elect() first")
        if self._served.get(fn) is leadership:
            return False
        self._served[fn] = leadership
        self._handover_at = self._clock.instant + seconds
        try:
            call(leadership)
        finally:
            self._handover_at = inf
        return True

    def _confirm(self) -> None:
        """The sidecar names the leader, if there is contact."""
        if self._in_contact and self._elected and not self._stopped:
            self._runtime.store.confirm(self._elected, self._clock.instant, pushed=True)
            self._verify(self._elected)

    def _verify(self, elected: str) -> None:
        """The Lease agrees with the sidecar."""
        instant, ours = self._clock.instant, elected == self.identity
        term = f"term-{self._term}"
        self._runtime.store.verify(LeaseReading(instant, elected, term, self._term, ours))

    def _pass(self, seconds: float) -> None:
        """Let time pass in steps short enough that no confirmation expires in between."""
        clock, step = self._clock, self._runtime.settings.poll_interval
        end = clock.instant + seconds
        while clock.instant < end:
            clock.instant = min(clock.instant + step, end, max(self._handover_at, clock.instant))
            if clock.instant >= self._handover_at:
                self._handover_at = inf
                self._elected = ANOTHER_POD
            self._runtime.store.expire()
            self._confirm()
            self._announce()

    def _wait(self, flag: Flag | LoopFlag, seconds: float | None) -> None:
        """A callback or a leader task waits on its leadership: let time pass."""
        end = inf if seconds is None else self._clock.instant + seconds
        while not flag.is_set() and (left := end - self._clock.instant) > 0:
            step = min(left, self._runtime.settings.poll_interval)
            self._waited += step
            if self._waited > LONGEST_WAIT and self._handover_at == inf:
                raise RuntimeError("waits for the end of a leadership that this test never ends")
            self._pass(step)

    def _announce(self) -> None:
        """Run the callbacks that are due, unless one of them is running: they run after it."""
        if self._announcing:
            return
        runtime = self._runtime
        if self._dispatcher is None or self._dispatcher[0] is not runtime.store:  # a new store
            dispatcher = Dispatcher(
                runtime.store, runtime.registry, runtime.health, overrun_after=inf
            )
            self._dispatcher = runtime.store, dispatcher
        self._drain(*self._dispatcher)

    def _drain(self, store: Store, dispatcher: Dispatcher) -> None:
        self._announcing = True
        try:
            dispatcher.drain()
        finally:
            self._announcing = False
        if self._runtime.store is not store:  # stopped by a callback, which may have restarted it
            self._announce()

    # --- the methods of `Elector` ------------------------------------------------------

    def start(self) -> Self:
        """Restore contact after `stop`; otherwise there is nothing to do."""
        if self._stopped:
            self._stopped = False
            self._confirm()
            self._announce()
        return self

    def stop(self, timeout: float | None = 5.0) -> bool:
        """Step down: the state is unknown, and ``on_demoted`` callbacks have run. Always True."""
        self._stopped = True
        self._runtime.begin_stop()
        if self._dispatcher is not None and not self._announcing:
            self._drain(*self._dispatcher)
        return True

    @property
    def is_leader(self) -> bool:
        """Whether this process is the leader, in fake time."""
        return self._clock.instant < self._runtime.store.snapshot.lead_until

    def status(self) -> Status:
        """See `Elector.status`. ``stream`` is ``"waiting"`` while contact is lost."""
        running = not self._stopped
        stream = "off" if not running else "open" if self._in_contact else "waiting"
        tasks = tuple(map(self._task_status, self._tasks))
        return super().status()._replace(running=running, stream=stream, tasks=tasks)

    def _task_status(self, fn: Callable[..., object]) -> TaskStatus:
        """As far as a task has one that only runs in `run_leader_task`."""
        served = self._served.get(fn)
        state = "idle" if served is None or served.ended else "ended"
        return TaskStatus(name_of(fn), state)

    def refresh(self) -> Status:
        """Confirm the leader once more. Raises `ElectorUnavailableError` while contact is lost."""
        if not self._in_contact:
            raise ElectorUnavailableError(
                "no answer from the fake elector: lose_contact() was called"
            )
        if self._elected:
            self._runtime.store.confirm(self._elected, self._clock.instant)
            self._verify(self._elected)
        self._announce()
        return self.status()

    def wait_until_leader(self, timeout: float | None = None) -> bool:
        """Whether this process is the leader. Returns at once: a wait would change nothing."""
        return self.is_leader

    def wait_until_known(self, timeout: float | None = None) -> bool:
        """Whether the leader is known. Returns at once: a wait would change nothing."""
        return self.state is not State.UNKNOWN

    def _may_wait_for_first_answer(self, timeout: float) -> bool:
        """False: a wait would change nothing."""
        return False

    def on_elected(self, callback: AnyCallback) -> AnyCallback:
        """See `Elector.on_elected`. Called at once if this process is the leader."""
        super().on_elected(callback)
        self._announce()
        return callback

    def on_leader_change(self, callback: AnyCallback) -> AnyCallback:
        """See `Elector.on_leader_change`. Called at once if a leader is known."""
        super().on_leader_change(callback)
        self._announce()
        return callback

    def while_leader(self, fn: AnyCallback) -> AnyCallback:
        """Register ``fn``. It has no thread here; `run_leader_task` runs it."""
        self._tasks[fn] = adapt_task(fn)
        return fn

    def remove(self, callback: Callable[..., object]) -> bool:
        """See `Elector.remove`."""
        is_task = self._tasks.pop(callback, None) is not None
        self._served.pop(callback, None)
        return super().remove(callback) or is_task


class _FakeClock(Clock):
    """Stands still until the test moves it."""

    def __init__(self, wait: Callable[[Flag | LoopFlag, float | None], None]) -> None:
        self.instant = 1000.0
        self._wait = wait

    def now(self) -> float:
        return self.instant

    def wait(self, flag: Flag, seconds: float | None) -> None:
        self._wait(flag, seconds)

    async def wait_async(self, flag: LoopFlag, seconds: float | None) -> None:
        self._wait(flag, seconds)

"""`FakeElector`: the real state and the real dispatcher, without threads and without a network.

It puts a clock of its own under them, confirms what the test says, and runs callbacks in
the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Self, TypeVar

from .._dispatch.callbacks import adapt, name_of
from .._dispatch.dispatcher import Dispatcher
from .._runtime.runtime import Runtime
from .._state.clock import Clock, Flag
from .._state.leadership import Leadership
from .._state.model import State, Status
from .._state.store import Store
from ..elector import Elector
from ..errors import ElectorUnavailableError, NotLeaderError

__all__ = ["ANOTHER_POD", "FakeElector"]

ANOTHER_POD = "another-pod"
"""The leader when a test only says that it is not this process."""

LONGEST_WAIT = 1e5
"""Fake seconds of waiting that nothing in the test ends, after which it is an error."""

AnyCallback = TypeVar("AnyCallback", bound=Callable[..., object])


class FakeElector(Elector):
    """An elector that a test controls: deterministic, without threads and without a network.

    It offers everything that `Elector` does, under the same rules. `elect`, `demote`,
    `lose_contact` and `advance` are what the platform and the time do; callbacks have run,
    in the calling thread, when they return. Time stands still except in `advance`,
    `lose_contact` and ``leadership.wait()``.

    It reads no environment, and needs no `start` except after a `stop`. Use it from one
    thread at a time.

    leading: True and False begin as leader or follower; None, the default, begins as a
        real one does: unknown.
    identity: the name that means this pod.
    grace_period: fake seconds for which one confirmation holds.

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
            when_unconfigured="error",
        )
        self._clock = _FakeClock(self._wait)
        self._runtime = Runtime(self._runtime.settings, clock=self._clock)  # never started
        self._step = interval
        self._grace = grace_period
        self._platform_leader: str | None = None
        self._in_contact = True
        self._stopped = False
        self._horizon = inf  # when `run_leader_task` has another pod elected
        self._waited = 0.0  # by callbacks, since the test did something
        self._leader_tasks: list[_PlayedTask] = []
        self._announcing = False
        self._store: Store | None = None
        self._dispatcher: Dispatcher | None = None
        if leading is not None:
            self.elect(identity if leading else ANOTHER_POD)

    # --- what the platform and the time do -------------------------------------------

    def elect(self, name: str | None = None) -> None:
        """The platform elects ``name``; by default, this process. Also restores lost contact."""
        self._platform_leader = self.identity if name is None else name
        self._in_contact = True
        self._waited = 0.0
        self._confirm()
        self._announce()

    def demote(self, to: str = ANOTHER_POD) -> None:
        """The platform elects another pod, ``to``."""
        if to == self.identity:
            raise ValueError(
                f"demote: {to!r} is this elector's own identity; elect() makes it lead"
            )
        self.elect(to)

    def lose_contact(self, seconds: float | None = None) -> None:
        """Contact to the sidecar is lost, and ``seconds`` pass; by default, the grace period.

        Until the grace period is over the state stays as it is; then it is unknown. `elect`
        restores contact.
        """
        self._in_contact = False
        self.advance(self._grace if seconds is None else seconds)

    def advance(self, seconds: float) -> None:
        """Let fake time pass; while there is contact, the leader is confirmed all along."""
        if not 0 <= seconds < inf:
            raise ValueError(f"seconds: expected a finite number, not negative, got {seconds!r}")
        self._pass(seconds)

    def run_leader_task(self, fn: Callable[..., object], *, seconds: float = 60.0) -> bool:
        """Run ``fn``, which was given to `while_leader`, now, for the present leadership.

        ``fn`` has ``seconds`` of fake time, which pass while it waits on its
        leadership; then another pod is elected, so that it ends as it would in
        production. A function that looks at ``leadership.ended`` without ever waiting on
        the leadership never sees time pass.

        Returns False if it has finished in this leadership already, since it would not be
        called again. An exception of ``fn`` is raised. Raises `NotLeaderError` without a
        leadership, and ValueError for a function that was not given to `while_leader`.
        """
        task = next((task for task in self._leader_tasks if task.fn == fn), None)
        if task is None:
            raise ValueError(f"{name_of(fn)} was not given to while_leader() of this elector")
        leadership = self._runtime.store.leadership
        if leadership is None or leadership.ended:
            raise NotLeaderError(f"{name_of(fn)} runs only while leading; call elect() first")
        if task.served is leadership:
            return False
        task.served = leadership
        self._horizon = self._clock.now() + seconds
        try:
            task.call(leadership)
        finally:
            self._horizon = inf
        return True

    def _confirm(self) -> None:
        """The sidecar names the leader, if there is contact."""
        if self._in_contact and self._platform_leader and not self._stopped:
            self._runtime.store.confirm(self._platform_leader, self._clock.now(), pushed=True)

    def _pass(self, seconds: float) -> None:
        """Let time pass in steps short enough for one confirmation to reach the next."""
        end = self._clock.now() + seconds
        while (instant := self._clock.now()) < end:
            self._clock.instant = min(instant + self._step, end, max(self._horizon, instant))
            if self._clock.instant >= self._horizon:
                self._horizon = inf
                self._platform_leader = ANOTHER_POD
            self._runtime.store.expire()
            self._confirm()
            self._announce()

    def _wait(self, flag: Flag, seconds: float | None) -> None:
        """A callback or a leader task waits on its leadership: time passes."""
        end = inf if seconds is None else self._clock.now() + seconds
        while not flag.is_set() and (left := end - self._clock.now()) > 0:
            step = min(left, self._step)
            self._waited += step
            if self._waited > LONGEST_WAIT and self._horizon == inf:
                raise RuntimeError(
                    "waits for the end of a leadership that nothing in this test ends"
                )
            self._pass(step)

    def _announce(self) -> None:
        """Run the callbacks that are due, unless one of them is running: it comes first."""
        if self._announcing:
            return
        runtime = self._runtime
        if self._dispatcher is None or self._store is not runtime.store:  # restarted, or forked
            self._store = runtime.store
            self._dispatcher = Dispatcher(
                runtime.store, runtime.registry, runtime.health, overrun_after=inf
            )
        self._announcing = True
        try:
            self._dispatcher.drain()
        finally:
            self._announcing = False

    # --- the elector's own -------------------------------------------------------------

    def start(self) -> Self:
        """Make contact again after `stop`; otherwise there is nothing to do."""
        if self._stopped:
            self._stopped = False
            self._confirm()
            self._announce()
        return self

    def stop(self, timeout: float | None = 5.0) -> bool:
        """Step down: the state is unknown, and ``on_demoted`` callbacks have run. Always True."""
        self._stopped = True
        dispatcher = self._dispatcher
        self._runtime.begin_stop()
        if dispatcher is not None and not self._announcing:
            dispatcher.drain()
        return True

    @property
    def is_leader(self) -> bool:
        """Whether this process is the leader, in fake time."""
        return self._clock.now() < self._runtime.store.snapshot.lead_until

    def status(self) -> Status:
        """See `Elector.status`; ``stream`` follows `lose_contact`."""
        running = not self._stopped
        stream = "off" if not running else "open" if self._in_contact else "waiting"
        return super().status()._replace(running=running, stream=stream)

    def refresh(self) -> Status:
        """Confirm the leader once more; `ElectorUnavailableError` while contact is lost."""
        if not self._in_contact:
            raise ElectorUnavailableError(
                "no answer from the fake elector: lose_contact() was called"
            )
        if self._platform_leader:
            self._runtime.store.confirm(self._platform_leader, self._clock.now())
        self._announce()
        return self.status()

    def wait_until_leader(self, timeout: float | None = None) -> bool:
        """Whether this process is the leader. Returns at once: nothing changes meanwhile."""
        return self.is_leader

    def wait_until_known(self, timeout: float | None = None) -> bool:
        """Whether the leader is known. Returns at once: nothing changes meanwhile."""
        return self.state is not State.UNKNOWN

    def may_wait_for_first_answer(self) -> bool:
        """False: nothing changes while waiting."""
        return False

    def on_elected(self, callback: AnyCallback) -> AnyCallback:
        """See `Elector.on_elected`; called now if this process is the leader."""
        super().on_elected(callback)
        self._announce()
        return callback

    def on_leader_change(self, callback: AnyCallback) -> AnyCallback:
        """See `Elector.on_leader_change`; called now if a leader is known."""
        super().on_leader_change(callback)
        self._announce()
        return callback

    def while_leader(self, fn: AnyCallback) -> AnyCallback:
        """Remember ``fn``; it has no thread, and runs when `run_leader_task` is called."""
        self._leader_tasks.append(_PlayedTask(fn, adapt(fn, "while_leader")))
        return fn

    def remove(self, callback: Callable[..., object]) -> bool:
        """See `Elector.remove`."""
        kept = [task for task in self._leader_tasks if task.fn != callback]
        gone = len(kept) < len(self._leader_tasks)
        self._leader_tasks = kept
        return super().remove(callback) or gone


class _FakeClock(Clock):
    """Stands still until the test moves it."""

    def __init__(self, wait: Callable[[Flag, float | None], None]) -> None:
        self.instant = 1000.0
        self._wait = wait

    def now(self) -> float:
        return self.instant

    def wait(self, flag: Flag, seconds: float | None) -> None:
        self._wait(flag, seconds)


class _PlayedTask:
    """A function of ``while_leader`` and the leadership for which it ran last."""

    def __init__(self, fn: Callable[..., object], call: Callable[[Any], object]) -> None:
        self.fn = fn
        self.call = call
        self.served: Leadership | None = None

"""`FakeElector`: the real elector with another clock, without threads and without a network.

It feeds the same state machine and lets the same dispatcher run callbacks, in the
caller's thread. Owns the fake time and what the platform is played to say.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Self, TypeVar

from ..callbacks import adapt, name_of
from ..cell import Cell
from ..clock import Clock, Flag
from ..dispatch import Dispatch
from ..elector import Elector
from ..errors import ElectorUnavailableError, NotLeaderError
from ..leadership import Leadership
from ..model import State, Status

__all__ = ["ANOTHER_POD", "FakeElector"]

ANOTHER_POD = "another-pod"
"""Who leads when a test says no more than that it is not us."""

LONGEST_WAIT = 1e5
"""Fake seconds of waiting that nothing in the test ends, after which it is called a mistake."""

AnyCallback = TypeVar("AnyCallback", bound=Callable[..., object])


class FakeElector(Elector):
    """An elector that a test plays: deterministic, without threads and without a network.

    Everything that `Elector` offers is here and follows the same rules. `elect`,
    `demote`, `lose_contact` and `advance` are what the platform and the time do;
    callbacks have run, in the calling thread, when they return. Time stands still
    but for `advance`, `lose_contact` and ``leadership.wait()``.

    It reads no environment, and hears from the start on: `start` is only needed
    after `stop`. It is to be used from one thread at a time.

    leading: True and False begin as leader or follower; None, the default, begins
        as a real one does: unknown.
    identity: the name that means "us".
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
        self._clock = _FakeClock(self._wait)
        self._platform_leader: str | None = None
        self._in_contact = True
        self._horizon = inf  # when `run_leader_task` has another pod elected
        self._waited = 0.0  # by callbacks, since the test did something
        self._leader_tasks: list[_LeaderTask] = []
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
        if leading is not None:
            self.elect(identity if leading else ANOTHER_POD)

    def _be_born(self) -> None:
        super()._be_born()
        self._cell = Cell(self._cell.snapshot, self._clock)
        self._begin()

    def _begin(self) -> None:
        """A new life: nobody was told anything in it yet."""
        self._stopping = Flag()
        self._telling = False
        self._registry.forget_told()
        self._dispatch = Dispatch(
            self._cell,
            self._registry,
            self._journal,
            self._stopping,
            overrun_after=inf,
            predecessor=None,
        )

    # --- what the platform and the time do -------------------------------------------

    def elect(self, name: str | None = None) -> None:
        """The platform elects ``name``; by default, us. Also ends a lost contact."""
        self._platform_leader = self.identity if name is None else name
        self._in_contact = True
        self._waited = 0.0
        self._hear()
        self._tell()

    def demote(self, to: str = ANOTHER_POD) -> None:
        """The platform elects another pod, ``to``."""
        if to == self.identity:
            raise ValueError(
                f"demote: {to!r} is this elector's own identity; elect() makes it lead"
            )
        self.elect(to)

    def lose_contact(self, seconds: float | None = None) -> None:
        """Nothing is heard any more, and ``seconds`` pass; by default, the grace period.

        Until the grace period is over everything stays as it is; then the state is unknown.
        `elect` brings the contact back.
        """
        self._in_contact = False
        self.advance(self._settings.grace_period if seconds is None else seconds)

    def advance(self, seconds: float) -> None:
        """Let fake time pass, with whoever leads confirmed all along while there is contact."""
        if not 0 <= seconds < inf:
            raise ValueError(f"seconds: expected a finite number, not negative, got {seconds!r}")
        self._pass(seconds)

    def run_leader_task(self, fn: Callable[..., object], *, seconds: float = 60.0) -> bool:
        """Run ``fn``, which was given to `while_leader`, here and now, for the present leadership.

        ``fn`` has ``seconds`` of fake time, which pass while it waits on its
        leadership; then another pod is elected, so that it ends as it would in
        production. A function that looks at ``leadership.ended`` without ever waiting on
        the leadership never sees time pass.

        False if it has had its run in this leadership already: it would not get a
        second one. What it raises is raised. Raises `NotLeaderError` without a
        leadership, and ValueError for a function that `while_leader` was not given.
        """
        task = next((task for task in self._leader_tasks if task.fn == fn), None)
        if task is None:
            raise ValueError(f"{name_of(fn)} was not given to while_leader() of this elector")
        leadership = self._cell.leadership
        if leadership is None or leadership.ended:
            raise NotLeaderError(f"{name_of(fn)} runs while leading; call elect() first")
        if task.served is leadership:
            return False
        task.served = leadership
        self._horizon = self._clock.now() + seconds
        try:
            task.call(leadership)
        finally:
            self._horizon = inf
        return True

    def _hear(self) -> None:
        """The newest word, if it reaches us."""
        if self._in_contact and self._platform_leader and not self._stopping.is_set():
            instant = self._clock.now()
            self._cell.hear(self._cell.epoch, [self._platform_leader], instant, pushed=True)

    def _pass(self, seconds: float) -> None:
        """Time passes in steps short enough for one confirmation to reach the next."""
        end = self._clock.now() + seconds
        step = self._settings.poll_interval
        while (instant := self._clock.now()) < end:
            self._clock.instant = min(instant + step, end, max(self._horizon, instant))
            if self._clock.instant >= self._horizon:
                self._horizon = inf
                self._platform_leader = ANOTHER_POD
            self._cell.tick()
            self._hear()
            self._tell()

    def _wait(self, flag: Flag, seconds: float | None) -> None:
        """A callback or a leader task waits on its leadership: that makes time pass."""
        end = inf if seconds is None else self._clock.now() + seconds
        while not flag.is_set() and (left := end - self._clock.now()) > 0:
            step = min(left, self._settings.poll_interval)
            self._waited += step
            if self._waited > LONGEST_WAIT and self._horizon == inf:
                raise RuntimeError("waits for a leadership that nothing in this test ends")
            self._pass(step)

    def _tell(self) -> None:
        """Run the callbacks that are due; one that got us here goes on first."""
        if self._telling:
            return
        self._telling = True
        try:
            self._dispatch.drain()
        finally:
            self._telling = False

    # --- the elector's own -------------------------------------------------------------

    def start(self) -> Self:
        """Begin to hear again after `stop`; otherwise there is nothing to do."""
        if self._stopping.is_set():
            self._ever_stopped = False
            self._begin()
            self._hear()
            self._tell()
        return self

    def stop(self, timeout: float | None = 5.0) -> bool:
        """Step down: the state is unknown, and ``on_demoted`` callbacks have run. Always True."""
        self._begin_stop()
        self._stopping.set()
        self._tell()
        return True

    @property
    def is_leader(self) -> bool:
        """Whether this process leads, in the play."""
        return self._clock.now() < self._cell.snapshot.lead_until

    def status(self) -> Status:
        """As a real elector's; no thread of it exists, so none can die."""
        running = not self._stopping.is_set()
        stream = "off" if not running else "open" if self._in_contact else "waiting"
        return super().status()._replace(running=running, stream=stream)

    def refresh(self) -> Status:
        """Hear whoever leads, once more; `ElectorUnavailableError` while the contact is lost."""
        if not self._in_contact:
            raise ElectorUnavailableError(
                "no answer from the fake elector: lose_contact() was called"
            )
        if self._platform_leader:
            self._cell.hear(self._cell.epoch, [self._platform_leader], self._clock.now())
        self._tell()
        return self.status()

    def wait_until_leader(self, timeout: float | None = None) -> bool:
        """Whether this process leads. Returns at once: nothing would happen meanwhile."""
        return self.is_leader

    def wait_until_known(self, timeout: float | None = None) -> bool:
        """Whether it is known who leads. Returns at once: nothing would happen meanwhile."""
        return self.state is not State.UNKNOWN

    def may_hear_first_word(self) -> bool:
        """False: waiting brings nothing."""
        return False

    def on_elected(self, callback: AnyCallback) -> AnyCallback:
        """As a real elector's; runs here and now if this process leads."""
        super().on_elected(callback)
        self._tell()
        return callback

    def on_leader_change(self, callback: AnyCallback) -> AnyCallback:
        """As a real elector's; runs here and now if a leader is known."""
        super().on_leader_change(callback)
        self._tell()
        return callback

    def while_leader(self, fn: AnyCallback) -> AnyCallback:
        """Remember ``fn``; it gets no thread, but runs when `run_leader_task` is called."""
        self._leader_tasks.append(_LeaderTask(fn, adapt(fn, "while_leader")))
        return fn

    def remove(self, callback: Callable[..., object]) -> bool:
        """As a real elector's."""
        kept = [task for task in self._leader_tasks if task.fn != callback]
        gone = len(kept) < len(self._leader_tasks)
        self._leader_tasks = kept
        return super().remove(callback) or gone


class _FakeClock(Clock):
    """Stands still, but for what the test does."""

    def __init__(self, wait: Callable[[Flag, float | None], None]) -> None:
        self.instant = 1000.0
        self._wait = wait

    def now(self) -> float:
        return self.instant

    def wait(self, flag: Flag, seconds: float | None) -> None:
        self._wait(flag, seconds)


class _LeaderTask:
    """A function of ``while_leader`` and the leadership that it was run for last."""

    def __init__(self, fn: Callable[..., object], call: Callable[[Any], object]) -> None:
        self.fn = fn
        self.call = call
        self.served: Leadership | None = None

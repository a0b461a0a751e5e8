"""`Elector`: what users hold. A facade: it reads, registers, and delegates to its runtime."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Self, TypeVar, Unpack

from ._runtime import forks, process
from ._runtime.phases import DORMANT, RUNNING, UNUSED, Phase, Trigger
from ._runtime.runtime import Runtime
from ._runtime.status import status_of
from ._state.clock import WHICH, read_clock
from ._state.model import Snapshot, State, Status
from ._state.rules import leader_at, state_at
from .guard import Guard
from .settings import METHOD_SIGNATURE, Options, Settings, resolve

__all__ = ["Elector"]

AnyCallback = TypeVar("AnyCallback", bound=Callable[..., object])


class Elector:
    """Knows which pod is the leader, calls back on changes and guards functions.

    Every setting is optional. One that is not given comes from ``ELECTOR_THREAD_<NAME>`` in
    the environment, then from its default.

    get_url, sse_url: where to ask and where to listen. Default: the platform's
        ``ELECTOR_GET_URL`` and ``ELECTOR_SSE_URL`` (or the legacy ``ELECTOR_PATH``).
        Setting either ignores the environment's URLs; a ``get_url`` without ``sse_url``
        means polling alone.
    identity: the name that means this pod. Default: the host's name.
    poll_interval: seconds between GETs without an open stream, or while GET fails (5).
    reconcile_interval: seconds between GETs while the stream is open (15).
    grace_period: seconds for which one confirmation holds (45). Lost contact is not lost
        leadership until then; afterwards the state is unknown, and unknown is never
        leader. Must exceed the larger interval plus ``request_timeout``, or plus twice that
        with ``verify="lease"``.
    request_timeout: seconds for one whole exchange, from connecting to the last byte (2).
    scope: ``"pod"``: every process of the leader's pod is leader. ``"process"``: exactly
        one process of that pod is.
    verify: ``"none"``: believe the sidecar. ``"lease"``: also ask the Kubernetes API whether
        the Lease names this pod, and be leader only while both do; needs the platform's
        variables and the pod's service account.
    lock_path: the file that the pod's processes lock for ``scope="process"``. Default: one
        in the temporary folder, named after the user and the identity.
    when_unconfigured: what to do without any URL. ``"error"`` raises; ``"lead"`` and
        ``"follow"`` assume the answer, for local work.

    Raises `ConfigurationError`, naming the setting, if one is missing or wrong.

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

    # The one reference that a fork replaces. Written in a forked child while it has a single
    # thread, and by `_prepare` before there are threads.
    _runtime: Runtime

    def __init__(self, **settings: Unpack[Options]) -> None:
        self._runtime = Runtime(resolve(**settings))
        process.register(self)

    # --- starting and stopping ---------------------------------------------------------

    def start(self) -> Self:
        """Start the threads, unless they run already; returns the elector itself.

        Never blocks, and never fails because the sidecar is away: until it answers, the
        state is unknown. In a server's master process that only forks workers (see
        `elector_thread.integrations`) the threads start in the workers instead.
        Raises `ConfigurationError` if ``scope="process"`` cannot have its lock file.
        """
        self._prepare()
        self._runtime.start()
        self._keep()
        return self

    def stop(self, timeout: float | None = 5.0) -> bool:
        """Step down and end the threads. Idempotent; `start` starts again.

        The state is unknown, and every leadership over, before this waits for anything.
        Then it waits at most ``timeout`` seconds (None: without a limit) for callbacks and
        leader tasks to end. Returns False if one did not. A callback or leader task that calls
        it is not waited for. In a signal handler that has interrupted the library, or the
        writing of a log line, the wait is at most 0.1 s.
        """
        forks.notice()
        process.release(self)
        return self._runtime.stop(timeout)

    def post_fork(self) -> None:
        """Start in a forked child, if the elector ran in its parent.

        A child does so at its first use; a server's fork hook may call this to have it
        earlier. In a process that was not forked it does nothing.
        """
        forks.notice()
        self._runtime.use(Trigger.WAKE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- reading, without a lock -------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this process is the leader right now. Costs nanoseconds.

        True only while the newest confirmation names this identity and is younger than
        ``grace_period``, on a clock that counts suspended time.
        """
        runtime = self._runtime  # nothing slower than these two lines before the answer
        if read_clock(*WHICH) < runtime.store.snapshot.lead_until:
            return True
        phase = runtime.phase
        if phase is RUNNING or phase not in (DORMANT, UNUSED):
            return False
        return self.state is State.LEADER  # starts it

    @property
    def state(self) -> State:
        """LEADER, FOLLOWER or UNKNOWN, right now."""
        return state_at(*self._look())

    @property
    def leader(self) -> str | None:
        """The leader's name, None while it is not known."""
        return leader_at(*self._look())

    @property
    def identity(self) -> str:
        """The name that means this pod."""
        return self._runtime.settings.identity

    def status(self) -> Status:
        """One consistent view of everything, for logs and health endpoints."""
        return self._status(*self._look())

    # --- asking and waiting ------------------------------------------------------------

    def refresh(self) -> Status:
        """Ask the sidecar once, now, and return the status that follows.

        Works whether or not the elector was started, and counts as a confirmation like any
        other. While the elector runs, its poll thread asks, and this waits for up to four times
        ``request_timeout`` plus one second (eight times with ``verify="lease"``). Otherwise it
        asks itself, for up to one ``request_timeout`` (two with ``verify="lease"``), and longer
        if the host's name must be looked up. Before the first election the sidecar answers
        that it knows no leader; the state then stays as it is.

        Raises `ElectorUnavailableError` without a usable answer.
        """
        forks.notice()
        self._runtime.refresh()
        return self._status(*self._view())

    def wait_until_leader(self, timeout: float | None = None) -> bool:
        """Wait until this process is the leader; False after ``timeout`` seconds or when stopped.

        Starts an elector that was never started; one that was stopped stays stopped.
        """
        return self._wait_for({State.LEADER}, timeout)

    def wait_until_known(self, timeout: float | None = None) -> bool:
        """Wait until the leader is known; False after ``timeout`` seconds or when stopped.

        Starts an elector that was never started; one that was stopped stays stopped.
        """
        return self._wait_for({State.LEADER, State.FOLLOWER}, timeout)

    def _wait_for(self, states: set[State], timeout: float | None) -> bool:
        self._prepare()
        try:
            return self._runtime.wait_for(lambda s, now: state_at(s, now) in states, timeout)
        finally:
            self._keep()

    def _may_wait_for_first_answer(self, timeout: float) -> bool:
        """For guarded calls: whether the elector was started less than ``timeout`` ago."""
        forks.notice()
        return self._runtime.may_wait_for_first_answer(timeout)

    def _wait_for_first_answer(self, timeout: float) -> None:
        """For guarded calls: wait until the leader is known, or ``timeout`` after the start."""
        try:
            self._runtime.wait_for_first_answer(timeout)
        finally:
            self._keep()

    # --- callbacks -----------------------------------------------------------------------

    def on_elected(self, callback: AnyCallback) -> AnyCallback:
        """Call ``callback(leadership)`` or ``callback()`` each time this process becomes leader.

        Usable as a decorator; returns ``callback``. Callbacks run on one thread, in the
        order of registration, never two at once; `is_leader` is already True. A callback
        registered while leading is called at once. Exceptions raised by a callback are
        logged and suppressed. Raises TypeError for an ``async def``, and for a function that
        can be called neither with one argument nor with none.
        """
        return self._register("on_elected", callback)

    def on_demoted(self, callback: AnyCallback) -> AnyCallback:
        """Call ``callback(leadership)`` or ``callback()`` when an announced leadership ends.

        Exactly once for each; `is_leader` is already False. See `on_elected`.
        """
        return self._register("on_demoted", callback)

    def on_leader_change(self, callback: AnyCallback) -> AnyCallback:
        """Call ``callback(LeaderChange(previous, current))`` for every new leader, ours or not.

        The first leader has ``previous`` None; hearing the same leader again changes nothing.
        While a callback is slow, changes beyond a few fold into one. See `on_elected`.
        """
        return self._register("on_leader_change", callback)

    def while_leader(self, fn: AnyCallback) -> AnyCallback:
        """Run ``fn(leadership)`` in a thread of its own for each leadership.

        Never two at once: a run that outlives its leadership delays the next, so it should
        watch ``leadership.wait(seconds)`` or ``leadership.ended``. If it raises, it is called
        again after a growing pause; if it returns, it has finished for this leadership.

        An ``async def`` runs in an event loop of that thread, and is cancelled when the
        leadership ends. It receives an `elector_thread.aio.AsyncLeadership`, whose ``wait`` is
        awaited. To run it on your application's loop, use `elector_thread.aio.AsyncElector`.

        Usable as a decorator; returns ``fn``. Raises TypeError for a function that can be called
        neither with one argument nor with none.
        """
        self._runtime.registry.add_task(fn)
        self._runtime.store.wake()
        return fn

    def remove(self, callback: Callable[..., object]) -> bool:
        """Remove a callback or a ``while_leader`` function; False if it was not registered.

        Does not wait for a call that is under way.
        """
        return self._runtime.registry.remove(callback)

    @property
    def only_on_leader(self) -> Guard:
        """The guard, bound to this elector: see `elector_thread.only_on_leader`."""
        return Guard(self)

    # --- inside --------------------------------------------------------------------------

    @classmethod
    def _lazy(cls, source: Callable[[], Settings]) -> Self:
        """An elector that reads its settings from ``source``, and starts, at the first question."""
        elector = cls.__new__(cls)
        elector._runtime = Runtime(source, phase=UNUSED)
        process.register(elector)
        return elector

    def _keep(self) -> None:
        """Once it was started, the elector must live to step down at the interpreter's exit."""
        if self._runtime.phase in (Phase.RUNNING, Phase.DORMANT):
            process.keep(self)

    def _register(self, kind: str, callback: AnyCallback) -> AnyCallback:
        self._runtime.registry.add(kind, callback)
        self._runtime.store.wake()
        return callback

    def _look(self) -> tuple[Snapshot, float]:
        """What is known, and the time. A first look may start the threads; see `Runtime.use`."""
        forks.notice()
        if self._runtime.phase is UNUSED:
            self._prepare()
            self._runtime.use()
            self._keep()
        view = self._view()
        self._runtime.use()  # last: in a forked child the first look is always UNKNOWN
        return view

    def _view(self) -> tuple[Snapshot, float]:
        store = self._runtime.store
        return store.snapshot, store.now()

    def _status(self, snapshot: Snapshot, instant: float) -> Status:
        return status_of(self._runtime, snapshot, instant)

    def _prepare(self) -> None:
        """Before a start: nothing of an earlier process, or of before gevent's patches, is used."""
        forks.notice()
        if self._runtime.is_patched_since():
            self._runtime = self._runtime.for_child()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an Elector cannot be copied or pickled: it owns threads and connections. Make one "
            "in each process; each forked process creates its own"
        )

    def __repr__(self) -> str:
        runtime = self._runtime
        if not runtime.resolved:
            return "<Elector, settings not read yet>"
        state = state_at(runtime.store.snapshot, runtime.store.now()).name
        return f"<Elector {self.identity!r} {state} at {runtime.settings.where}>"


# so that `help` shows every setting with its default
Elector.__init__.__signature__ = METHOD_SIGNATURE  # type: ignore[attr-defined]  # of a function

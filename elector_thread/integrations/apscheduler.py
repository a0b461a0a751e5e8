"""APScheduler 3.x: the leader's scheduler runs, all others are paused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .._state.leadership import Leadership
from ..elector import Elector
from ..extras import needed
from ..guard import SKIPPED

with needed(by=__name__, what="APScheduler 3", extra="apscheduler"):
    from apscheduler.events import EVENT_SCHEDULER_STARTED
    from apscheduler.schedulers.base import STATE_PAUSED, STATE_RUNNING, BaseScheduler

__all__ = ["Binding", "bind"]


def bind(elector: Elector, scheduler: BaseScheduler) -> Binding:
    """Pause ``scheduler`` while this process is not the leader, and resume it when it is.

    Call it before or after either is started. You still start and shut down both. A scheduler
    that is started on a follower is paused before it runs any job. Each job's
    ``misfire_grace_time`` and ``coalesce`` decide about runs that were due during a pause.

    A pause does not end a running job: see `Binding.with_leadership`.

    Raises TypeError if ``elector`` is not an `Elector`.
    """
    if not isinstance(elector, Elector):
        raise TypeError(f"bind: expected an Elector, got {elector!r}; of an adapter, use .elector")
    return Binding(elector, scheduler)


class Binding:
    """What `bind` returns.

    `_leadership` is written by the dispatch thread. `_sync` may run on that thread and on the
    one that starts the scheduler at the same time. Each checks again after it has acted, so
    the last one leaves the scheduler in the right state.
    """

    def __init__(self, elector: Elector, scheduler: BaseScheduler) -> None:
        self._elector = elector
        self._scheduler = scheduler
        self._leadership: Leadership | None = None
        scheduler.add_listener(self._started, EVENT_SCHEDULER_STARTED)
        elector.on_elected(self._elected)
        elector.on_demoted(self._demoted)
        self._sync()

    @property
    def leadership(self) -> Leadership | None:
        """The leadership under which the scheduler runs, None while it is paused."""
        leadership = self._leadership
        return None if leadership is None or leadership.ended else leadership

    def with_leadership(self, job: Callable[..., Any]) -> Callable[..., Any]:
        """A decorator: ``job`` receives its leadership as the first argument.

        A long job checks ``leadership.ended``, or waits with ``leadership.wait(seconds)``, and
        returns when the leadership is over. A run that starts after the end (from a queue, for
        example) is skipped and returns `SKIPPED`. For functions and ``async def``; not for
        jobs in other processes, where the leadership is not known.
        """
        if inspect.iscoroutinefunction(job):

            async def run_async(*args: Any, **kwargs: Any) -> Any:
                leadership = self.leadership
                return SKIPPED if leadership is None else await job(leadership, *args, **kwargs)

            return _named_as(job, run_async)

        def run(*args: Any, **kwargs: Any) -> Any:
            leadership = self.leadership
            return SKIPPED if leadership is None else job(leadership, *args, **kwargs)

        return _named_as(job, run)

    def remove(self) -> None:
        """Undo `bind`; the scheduler stays as it is."""
        self._scheduler.remove_listener(self._started)
        self._elector.remove(self._elected)
        self._elector.remove(self._demoted)

    def _elected(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._sync()

    def _demoted(self) -> None:
        self._leadership = None
        self._sync()

    def _started(self, _: object) -> None:
        self._sync()

    def _sync(self) -> None:
        """Resume or pause the scheduler, according to the newest leadership."""
        while True:
            wanted = self._leadership
            if wanted is not None and self._scheduler.state == STATE_PAUSED:
                self._scheduler.resume()
            elif wanted is None and self._scheduler.state == STATE_RUNNING:
                self._scheduler.pause()
            if self._leadership is wanted:
                return


def _named_as(job: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the name, which job stores need; hide the added argument from APScheduler."""
    functools.update_wrapper(run, job)
    del run.__wrapped__  # type: ignore[attr-defined]  # set by update_wrapper
    return run

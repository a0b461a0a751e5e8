"""APScheduler 3.x: the scheduler of the leader runs, all others are paused."""

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
    """Keep ``scheduler`` paused wherever ``elector`` does not lead, and resumed where it does.

    Call it before or after either is started; starting and shutting down both stays
    yours. A scheduler that is started while following is paused before it runs any
    job. What came due while it was paused is left to each job's ``misfire_grace_time``
    and ``coalesce``.

    A pause does not end a job under way: see `Binding.with_leadership`.

    Raises TypeError for what is no `Elector`.
    """
    if not isinstance(elector, Elector):
        raise TypeError(f"bind: expected an Elector, got {elector!r}: an adapter's is its .elector")
    return Binding(elector, scheduler)


class Binding:
    """What `bind` returns.

    `_leadership` is written by the dispatch thread. `_sync` may run there and on the
    thread that starts the scheduler at once: each looks again after it has acted, so
    whoever comes last sees to it that the scheduler is as it should be.
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
        """A decorator: ``job`` gets the leadership it runs under as its first argument.

        Long work looks at ``leadership.ended``, or waits with ``leadership.wait(seconds)``,
        and returns when that is over. A run that comes after the end, from a queue, say,
        is skipped and returns `SKIPPED`. For functions and ``async def``; not for jobs
        in other processes, where no leadership is known.
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
        """Make the scheduler run or pause, as the newest leadership demands."""
        while True:
            wanted = self._leadership
            if wanted is not None and self._scheduler.state == STATE_PAUSED:
                self._scheduler.resume()
            elif wanted is None and self._scheduler.state == STATE_RUNNING:
                self._scheduler.pause()
            if self._leadership is wanted:
                return


def _named_as(job: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """Job stores keep jobs by name; APScheduler must not see the argument that we add."""
    functools.update_wrapper(run, job)
    del run.__wrapped__  # type: ignore[attr-defined]  # set by update_wrapper
    return run

"""``while_leader``: one thread for one function, while this process is the leader."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import time
from typing import Any

from .._state.backoff import Attempt, keep_trying
from .._state.clock import now
from .._state.health import Health
from .._state.leadership import Leadership
from .._state.model import TaskStatus
from .._state.occurrences import TaskEnded, TaskFailed, TaskStarted
from .callbacks import LoopClosedError, adapt, is_async, name_of
from .worker import Worker

__all__ = ["TaskRunner", "adapt_task"]

LONGEST_PAUSE = 60.0
"""Seconds: the ceiling of the pause before a function that raised is called again."""


def adapt_task(fn: Callable[..., object]) -> Callable[[Any], object]:
    """Wrap a ``while_leader`` function so that it accepts exactly one argument; see `adapt`.

    An ``async def`` runs in an event loop of the thread that calls it.
    """
    if not is_async(fn):
        return adapt(fn, "while_leader")
    from .coroutines import in_own_loop  # imports asyncio: slow, and only these need it

    return in_own_loop(fn)


class TaskRunner:
    """Runs ``fn(leadership)`` once for each leadership, never two at once.

    `_lock` protects `_worker` and `_next`: a leadership is either taken by the running
    thread or starts a new one. A function that outlives its leadership delays the next.
    `_served` is replaced as a whole by the running thread and read without the lock.
    """

    def __init__(
        self,
        fn: Callable[..., object],
        call: Callable[[Any], object],
        health: Health,
        predecessors: Sequence[Worker] = (),
    ) -> None:
        self.fn = fn
        self._call = call
        self._health = health
        self._name = name_of(fn)
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._next: Leadership | None = None
        self._removed = False
        self._predecessors = predecessors  # threads that may still run the same function
        # how it is, and the leadership that it is about
        self._served: tuple[TaskStatus, Leadership | None] = (TaskStatus(self._name), None)

    @property
    def worker(self) -> Worker | None:
        """The thread under way, if there is one."""
        return self._worker

    @property
    def status(self) -> TaskStatus:
        """How the function is."""
        status, leadership = self._served  # no thread waits for the end once it has returned
        if status.state == "ended" and leadership is not None and leadership.ended:
            return status._replace(state="idle", since=leadership._over_at or time())
        return status

    def offer(self, leadership: Leadership) -> None:
        """A leadership has begun. Called on the dispatch thread."""
        with self._lock:
            self._next = leadership
            if self._worker is not None:
                return
            worker = Worker(f"task-{self._name}", self._run)
            worker.start()  # until the lock is free, it takes no leadership
            self._worker = worker

    def remove(self) -> None:
        """The function is not called for later leaderships, nor again for this one."""
        self._removed = True

    def renewed(self, health: Health) -> TaskRunner:
        """The same task without a thread, for another runtime."""
        return TaskRunner(self.fn, self._call, health)

    def _run(self) -> None:
        for predecessor in self._predecessors:
            predecessor.ended.wait()
        self._predecessors = ()
        while (leadership := self._take()) is not None:
            self._serve(leadership)

    def _take(self) -> Leadership | None:
        with self._lock:
            leadership, self._next = self._next, None
            if leadership is None:
                self._worker = None
            return leadership

    def _serve(self, leadership: Leadership) -> None:
        """Call the function until it returns or the leadership ends."""
        self._served = (TaskStatus(self._name), leadership)
        finished = False

        def attempt() -> Attempt:
            nonlocal finished
            began = now()
            finished = self._call_once(leadership)
            return Attempt(now() - began)

        def is_over() -> bool:
            return finished or self._removed or leadership.ended

        keep_trying(attempt, longest_pause=LONGEST_PAUSE, sleep=leadership.wait, finished=is_over)
        self._note("ended" if finished and not leadership.ended else "idle")

    def _call_once(self, leadership: Leadership) -> bool:
        """Call the function; whether it has finished for this leadership."""
        self._note("running")
        self._health.record(TaskStarted(self._name))
        began = now()
        finished = True
        try:
            self._call(leadership)
        except BaseException as error:  # SystemExit, too: this thread is ours
            finished = isinstance(error, LoopClosedError)  # which no pause would open again
            failures = self._served[0].failures + 1
            self._note("waiting to restart", failures=failures, last_error=type(error).__name__)
            self._health.record(TaskFailed(self._name, error, failures))
        self._health.record(TaskEnded(self._name, now() - began))
        return finished

    def _note(self, state: str, **fields: Any) -> None:
        status, leadership = self._served
        self._served = (status._replace(state=state, since=time(), **fields), leadership)

"""``while_leader``: one thread for one function, while this process is the leader."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from .._state.backoff import Attempt, keep_trying
from .._state.clock import now
from .._state.health import Health
from .._state.leadership import Leadership
from .._state.occurrences import CallbackFailed
from .callbacks import name_of
from .worker import Worker

__all__ = ["TaskRunner"]

LONGEST_PAUSE = 60.0
"""Seconds: the ceiling of the pause before a function that raised is called again."""


class TaskRunner:
    """Runs ``fn(leadership)`` once for each leadership, never two at once.

    `_lock` protects `_worker` and `_next`: a leadership is either taken by the running
    thread or starts a new one. A function that outlives its leadership delays the next.
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

    @property
    def worker(self) -> Worker | None:
        """The thread under way, if there is one."""
        return self._worker

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
        returned = False

        def attempt() -> Attempt:
            nonlocal returned
            began = now()
            try:
                self._call(leadership)
                returned = True
            except BaseException as error:  # SystemExit, too: this thread is ours
                self._health.record(CallbackFailed(f"while_leader function {self._name}", error))
            return Attempt(now() - began)

        def finished() -> bool:
            return returned or self._removed or leadership.ended

        keep_trying(attempt, longest_pause=LONGEST_PAUSE, sleep=leadership.wait, finished=finished)

"""``while_leader``: one thread for one function, for as long as this process leads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from .callbacks import name_of
from .clock import now
from .journal import Journal
from .leadership import Leadership

__all__ = ["LeaderTask"]

LONGEST_PAUSE = 60.0
"""Seconds: the ceiling of the pause before a function that raised is called again."""

HEALTHY_LIFE = 60.0
"""Seconds that a function must have run for that pause to begin anew."""


class LeaderTask:
    """Runs ``fn(leadership)`` once for each leadership, never two at once.

    `_lock` protects `_thread` and `_next`: a leadership is either picked up by
    the running thread or starts a new one. A function that outlives its leadership
    delays the next.
    """

    def __init__(
        self,
        fn: Callable[..., object],
        call: Callable[[Any], object],
        journal: Callable[[], Journal],
        predecessors: Sequence[Thread] = (),
    ) -> None:
        self.fn = fn
        self._call = call
        self._journal = journal
        self._name = name_of(fn)
        self._lock = threading.Lock()
        self._thread: Thread | None = None
        self._next: Leadership | None = None
        self._removed = False
        self._predecessors = predecessors  # which may still run the same function

    @property
    def thread(self) -> Thread | None:
        """The thread under way, if there is one."""
        return self._thread

    def offer(self, leadership: Leadership) -> None:
        """A leadership began (called on the dispatch thread)."""
        with self._lock:
            self._next = leadership
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, name=f"elector-task-{self._name}", daemon=True
                )
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is on its way out
                    self._thread = None
                    raise

    def remove(self) -> None:
        """Not called for later leaderships, nor again for this one if it raises."""
        self._removed = True

    def reset_after_fork(self) -> None:
        """In a forked child: the thread is gone, and so is whoever held the lock."""
        self._lock = threading.Lock()
        self._thread = None
        self._next = None
        self._predecessors = ()

    def _run(self) -> None:
        for predecessor in self._predecessors:
            predecessor.join()
        self._predecessors = ()
        while (leadership := self._take()) is not None:
            while not leadership.ended and not self._serve(leadership):
                pass

    def _take(self) -> Leadership | None:
        with self._lock:
            leadership, self._next = self._next, None
            if leadership is None:
                self._thread = None
            return leadership

    def _serve(self, leadership: Leadership) -> bool:
        """Call until it returns or the leadership ends; False: begin a new row of pauses."""
        began = now()

        def attempt() -> bool:
            nonlocal began
            if leadership.ended or self._removed:  # ended while we paused
                return True
            began = now()
            self._call(leadership)
            return True

        def is_over(_: RetryCallState) -> bool:
            return leadership.ended or self._removed or now() - began >= HEALTHY_LIFE

        def note(state: RetryCallState) -> None:
            assert state.outcome is not None, "tenacity tells after an attempt"
            error = state.outcome.exception()
            assert error is not None, "an attempt that did not fail is the last one"
            self._journal().callback_failed(f"while_leader function {self._name}", error)

        def pause(seconds: float) -> None:
            leadership.wait(seconds)

        def give_up(_: RetryCallState) -> bool:
            return leadership.wait(0) or self._removed

        return Retrying(
            retry=retry_if_exception(lambda _: True),  # SystemExit too: this thread is not theirs
            wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE),
            stop=is_over,
            sleep=pause,
            after=note,
            retry_error_callback=give_up,
        )(attempt)

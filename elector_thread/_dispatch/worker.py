"""The library's threads, and waiting until their work has ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from .._state.clock import Flag, now

__all__ = ["Worker", "wait_for_all"]


class Worker:
    """A daemon thread that runs ``work``, and a flag that is set when it has ended.

    `Thread.join` would not do: in order to end, a thread needs locks of `threading` that
    the main thread may hold while a signal handler waits for that end.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.begun = False
        self.ended = Flag()
        self.stops = False  # it waits for others in `Elector.stop`: they must not wait for it
        self._work = work
        self.thread = threading.Thread(target=self._run, name=f"elector-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system refuses."""
        self.thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return self.thread is threading.current_thread()

    def _run(self) -> None:
        process = os.getpid()
        self.begun = True
        try:
            self._work()
        finally:
            self.ended.set()
        if os.getpid() != process and self.thread is not threading.main_thread():
            # a greenlet that a forked child has inherited: `threading` does not know it there,
            # and would print an error at its end
            Flag().wait()


def wait_for_all(workers: Iterable[Worker], give_up: float) -> bool:
    """Wait until their work has ended, at most until the instant ``give_up``; whether it has.

    If the caller is one of them, it is not waited for; nor are others that wait for it in
    turn. Nor is a thread that has not begun: it finds nothing left to do, and may need a lock
    of `threading` in order to begin, which the main thread holds below a signal handler.
    """
    others = [worker for worker in workers if worker.begun and not worker.is_current]
    for own in [worker for worker in workers if worker.is_current]:
        own.stops = True
        others = [worker for worker in others if not worker.stops]
    for worker in others:
        worker.ended.wait(give_up - now())
    return all(worker.ended.is_set() for worker in others)

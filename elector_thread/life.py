"""One life of an elector, from start to stop: makes its threads and ties them together.

Three of them, and a fourth that reports if the local elector asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from threading import Thread

from .cell import Cell
from .clock import Flag, Pulse, now
from .dispatch import Dispatch, Registry
from .journal import Journal
from .poll import Poll
from .report import Report
from .seat import Claim, Seat
from .settings import Settings
from .sidecar import Sidecar
from .stream import Stream

__all__ = ["Life", "join_all"]


class Life:
    """Owns the threads between `start` and `end`. Used once.

    `_stopping` is the one signal that all threads end on; every wait of
    theirs is woken after it was set.
    """

    def __init__(
        self,
        settings: Settings,
        sidecar: Sidecar,
        cell: Cell,
        registry: Registry,
        journal: Journal,
        claim: Claim | None,
        predecessor: Thread | None,
        task_threads: Callable[[], Iterable[Thread]],
    ) -> None:
        self._settings = settings
        self._sidecar = sidecar
        self._cell = cell
        self._claim = claim
        self._stopping = Flag()
        self._pulse = pulse = Pulse()
        self._dispatch = dispatch = Dispatch(
            cell,
            registry,
            journal,
            self._stopping,
            overrun_after=settings.poll_interval,
            predecessor=predecessor,
        )
        self._stream = Stream(
            sidecar, cell, journal, pulse, self._stopping, ask_now=lambda: self._poll.hurry()
        )
        self._poll = Poll(
            settings,
            sidecar,
            cell,
            journal,
            pulse,
            self._stopping,
            is_streaming=lambda: self._stream.open,
            on_recovered=self._stream.hurry,
            on_round=dispatch.check_overrun,
        )
        self._seat_thread: Thread | None = None
        self.dispatch_thread = _thread("dispatch", dispatch)
        self.threads = [self.dispatch_thread]
        if settings.configured:
            self.threads.append(_thread("poll", self._poll))
        if settings.sse_url is not None:
            self.threads.append(_thread("stream", self._stream))
        if claim is not None:
            seat = Seat(
                claim,
                cell,
                settings.identity,
                self._stopping,
                working=lambda: [self.dispatch_thread, *task_threads()],
            )
            self._seat_thread = _thread("seat", seat)
            self.threads.append(self._seat_thread)
        if settings.report_url is not None:
            self.threads.append(_thread("report", Report(sidecar, cell, self._stopping)))

    def start(self) -> None:
        """Start the threads; if the system refuses one, end the others and say so.

        A signal handler may `end` this life meanwhile, or raise: then no more are started.
        """
        if not self._settings.configured:
            self._assume()
        try:
            for thread in self.threads:
                if self._stopping.is_set():
                    break
                thread.start()
        except BaseException:
            self.end()
            raise
        finally:
            self.threads = [thread for thread in self.threads if thread.ident is not None]
            if self._claim is not None and self._seat_thread not in self.threads:
                self._claim.release()

    def end(self) -> None:
        """Step down, at once and for good; the threads follow on their own. Never blocks."""
        self._cell.end_epoch()
        self._stopping.set()
        self._sidecar.abort()
        self._stream.wake()
        self._poll.hurry()
        self._cell.touch()

    @property
    def alive(self) -> bool:
        """Whether every thread runs, poll asks on, and callbacks can still be told of an end.

        "Stuck" means later than promised by more than the grace period: long after
        the state itself has become unknown.
        """
        if self._stopping.is_set():  # they are meant to end
            return True
        if not all(thread.is_alive() for thread in self.threads):
            return False
        instant = now()
        late = max(self._pulse.overdue(instant), self._dispatch.held_up(instant))
        return late <= self._settings.grace_period

    @property
    def pulse(self) -> Pulse:
        """Where to note that this process has been running."""
        return self._pulse

    def hurry_stream(self) -> None:
        """GET works again: let the stream be tried earlier."""
        self._stream.hurry()

    def _assume(self) -> None:
        """Nobody to ask: believe what ``when_unconfigured`` says."""
        leads = self._settings.when_unconfigured == "lead"
        self._cell.hear(self._cell.epoch, [self._settings.identity if leads else None], now())


def _thread(name: str, body: Dispatch | Poll | Stream | Seat | Report) -> Thread:
    return threading.Thread(target=body.run, name=f"elector-{name}", daemon=True)


def join_all(threads: Iterable[Thread], give_up: float) -> bool:
    """Wait for ``threads`` until the instant ``give_up``; True if all of them have ended.

    The calling thread, if it is one of them, is not waited for.
    """
    others = [
        thread
        for thread in threads
        if thread is not threading.current_thread() and thread.ident is not None
    ]
    for thread in others:
        thread.join(min(max(0.0, give_up - now()), 1e6))
    return not any(thread.is_alive() for thread in others)

"""The poll thread: asks by GET, which is the truth that the stream is checked against."""

from __future__ import annotations

from collections.abc import Callable

from .cell import Cell
from .clock import Flag, Pulse
from .failures import ExchangeFailed
from .journal import Journal
from .settings import Settings
from .sidecar import Sidecar

__all__ = ["Poll", "consult"]


def consult(
    sidecar: Sidecar, cell: Cell, journal: Journal, epoch: int, pulse: Pulse | None
) -> bool:
    """Ask once and take in the answer for the life ``epoch``; True if that ended an outage.

    Raises `ExchangeFailed` if there was no usable answer. ``{}`` is an answer, but
    confirms nothing. The answer counts from the moment it was *asked*, so that it
    never overwrites news that came in meanwhile.
    """
    try:
        leader, asked_at = sidecar.ask()
    except ExchangeFailed as failure:
        if not sidecar.aborted:
            journal.failed(str(failure))
        raise
    if pulse is not None:
        pulse.ran(asked_at)
    if leader is not None:
        cell.hear(epoch, [leader], asked_at)
    return journal.answered()


class Poll:
    """Everything the poll thread does; `run` is its body. `hurry` may come from any thread."""

    def __init__(
        self,
        settings: Settings,
        sidecar: Sidecar,
        cell: Cell,
        journal: Journal,
        pulse: Pulse,
        stopping: Flag,
        *,
        is_streaming: Callable[[], bool],
        on_recovered: Callable[[], None],
        on_round: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._sidecar = sidecar
        self._cell = cell
        self._epoch = cell.epoch
        self._journal = journal
        self._pulse = pulse
        self._stopping = stopping
        self._is_streaming = is_streaming
        self._on_recovered = on_recovered
        self._on_round = on_round
        self._hurry = Flag()

    def run(self) -> None:
        """Ask, wait, and again, until told to stop."""
        while not self._stopping.is_set():
            self._hurry.clear()
            pause = self._round()
            self._pulse.beat(lasts=pause)
            if not self._stopping.is_set():
                self._hurry.wait(pause)
        self._sidecar.close()

    def hurry(self) -> None:
        """Ask now instead of at the end of the pause."""
        self._hurry.set()

    def _round(self) -> float:
        """Ask once; the seconds to wait before the next time."""
        # longest: a refresh goes first, and both ask twice
        self._pulse.beat(lasts=4 * self._settings.request_timeout)
        asked_to_wait: float | None = None
        try:
            if consult(self._sidecar, self._cell, self._journal, self._epoch, self._pulse):
                self._on_recovered()
        except ExchangeFailed as failure:
            asked_to_wait = failure.retry_after
        except Exception as bug:  # contained: what was confirmed runs out by itself
            if not self._sidecar.aborted:  # else it was cut, which a library may tell in any way
                self._journal.thread_died(bug)
        self._on_round()
        return self._pause(asked_to_wait)

    def _pause(self, asked_to_wait: float | None) -> float:
        """The interval; longer if the elector asks for it, yet short enough to keep the grace."""
        settings = self._settings
        if self._is_streaming():
            return settings.reconcile_interval
        longest = max(settings.poll_interval, settings.reconcile_interval)
        return min(max(settings.poll_interval, asked_to_wait or 0.0), longest)

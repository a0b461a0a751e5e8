"""The stream thread: listens for news. An accelerator; the truth is what poll asks for.

Owns the one open stream. Every connect costs the elector memory for good, so it
reconnects rarely: never for silence, and with a back-off that only a long
healthy life resets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from tenacity import RetryCallState, Retrying, retry_if_result, wait_random_exponential

from .cell import Cell
from .clock import Flag, Pulse, now
from .failures import ExchangeFailed, NoStream
from .journal import Journal
from .sidecar import Sidecar
from .wire import Malformed, parse_leader

__all__ = ["Stream"]

LONGEST_PAUSE = 300.0
"""Seconds: the back-off's ceiling, and the wait where there is no stream at all."""

MOST_HURRIES = 5
"""How often, within the longest pause, a GET that works again may cut a pause short."""

HEALTHY_LIFE = 60.0
"""Seconds that a stream must live for the back-off to begin anew."""

HELD_UP = 0.5
"""Seconds away from the stream (a log handler that blocks, say) after which news may be old."""


class _Ended(NamedTuple):
    """How an attempt ended: how long the stream lived, and whether there is one at all."""

    lived: float = 0.0
    absent: bool = False


class Stream:
    """Everything the stream thread does; `run` is its body.

    Cross-thread: `open` is written by this thread and read by poll. `hurry` may be
    called by any thread; its `Flag` wakes the back-off. `_hurries` is appended to
    by the threads that ask (poll, refresh); at worst a reconnect more comes early.
    """

    def __init__(
        self,
        sidecar: Sidecar,
        cell: Cell,
        journal: Journal,
        pulse: Pulse,
        stopping: Flag,
        ask_now: Callable[[], None],
    ) -> None:
        self.open = False
        self._sidecar = sidecar
        self._cell = cell
        self._epoch = cell.epoch
        self._journal = journal
        self._pulse = pulse
        self._stopping = stopping
        self._ask_now = ask_now
        self._arrived = -inf  # the earliest instant at which the newest event can have come in
        self._away_since = inf  # since when we did not read, if that was long
        self._hurry = Flag()
        self._hurries: deque[float] = deque([-inf] * MOST_HURRIES, maxlen=MOST_HURRIES)
        self._jitter = wait_random_exponential(multiplier=1, max=LONGEST_PAUSE)

    def run(self) -> None:
        """Keep a stream open until told to stop."""
        while not self._stopping.is_set():
            self._try_until_healthy()

    def hurry(self) -> None:
        """GET works again: cut the current pause short, unless GET comes and goes all the time."""
        if not self.open and now() - self._hurries[0] >= LONGEST_PAUSE:
            self._hurries.append(now())
            self._hurry.set()

    def wake(self) -> None:
        """Told to stop: end the back-off."""
        self._hurry.set()

    def _try_until_healthy(self) -> None:
        """One row of attempts with a growing pause; the next row begins with a short one."""
        Retrying(
            retry=retry_if_result(lambda ended: ended.lived < HEALTHY_LIFE),
            wait=self._pause_after,
            stop=lambda _: self._stopping.is_set(),
            sleep=self._sleep,
            retry_error_callback=lambda _: None,
        )(self._attempt)

    def _pause_after(self, state: RetryCallState) -> float:
        assert state.outcome is not None, "tenacity asks after an attempt"
        ended: _Ended = state.outcome.result()
        return LONGEST_PAUSE if ended.absent else self._jitter(state)

    def _sleep(self, seconds: float) -> None:
        self._hurry.wait(seconds)
        self._hurry.clear()

    def _attempt(self) -> _Ended:
        if self._stopping.is_set():  # set while we slept
            return _Ended()
        self._journal.stream = "connecting"
        opened, self._arrived = inf, now()
        try:
            with self._sidecar.open_stream() as stream:
                opened = now()
                self._begin()
                self._note_absence(opened)
                for batch in stream:
                    self._take(batch)
            reason = "the elector closed it"
        except NoStream as failure:
            return self._end(str(failure), _Ended(absent=True))
        except ExchangeFailed as failure:
            reason = str(failure)
        except Exception as bug:  # contained: without news, poll still knows the truth
            if not self._sidecar.aborted:  # else it was cut, which a library may tell in any way
                self._journal.thread_died(bug)
            reason = "internal error"
        return self._end(reason, _Ended(lived=max(0.0, now() - opened)))

    def _begin(self) -> None:
        self._hurry.clear()
        self.open = True
        self._journal.stream_open()

    def _end(self, reason: str, ended: _Ended) -> _Ended:
        was_open, self.open = self.open, False
        if self._stopping.is_set():
            self._journal.stream = "off"
            return ended
        if ended.absent:
            self._journal.stream_absent(reason)
        else:
            self._journal.stream_lost(reason)
        if was_open:
            self._ask_now()
        return ended

    def _take(self, batch: list[str]) -> None:
        """Events that came in together, oldest first. The state comes first, the counting after."""
        instant = now()
        # after a pause this may be long ago, yet what comes later on the stream is newer
        earliest = min(self._pulse.earliest_arrival(instant), self._away_since)
        at = self._arrived = max(self._arrived, earliest)
        leaders: list[str] = []
        problems: list[str] = []
        for data in batch:
            try:
                leader = parse_leader(data)
            except Malformed as problem:
                problems.append(self._sidecar.words(problem))
                continue
            if leader is not None:
                leaders.append(leader)
        if leaders:
            self._cell.hear(self._epoch, leaders, at, pushed=True)
        for problem_text in problems:
            self._journal.unheard(problem_text)
        if heard := len(batch) - len(problems):
            self._journal.heard(heard)
        if at < instant:  # newer or older than the last answer? Another answer tells
            self._ask_now()
        self._note_absence(instant)

    def _note_absence(self, since: float) -> None:
        """About to read on, and ``since`` then we did not: for long?"""
        self._away_since = since if now() - since > HELD_UP else inf

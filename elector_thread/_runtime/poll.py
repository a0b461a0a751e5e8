"""The poll thread: asks by GET, the truth that the stream is checked against.

With ``verify="lease"`` it reads the Lease as well.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from math import inf

from .._sidecar.calls import Answer, SidecarClient
from .._sidecar.failures import ExchangeFailed
from .._state.clock import Flag, now
from .._state.health import Health
from .._state.occurrences import GetAnswered, GetFailed, UnexpectedError
from .._state.store import Store
from ..settings import Settings
from .verifier import Verifier

__all__ = ["AnswerRequest", "Poll", "take_answer"]

LEAST_PAUSE = 1.0
"""Seconds between two GETs that only news from the stream has caused."""


class AnswerRequest:
    """One call of `Elector.refresh` that waits for the poll thread's answer.

    `failure` is written before `done` is set, and read afterwards.
    """

    def __init__(self) -> None:
        self.done = Flag()
        self.failure: str | None = None


class Poll:
    """Everything the poll thread does; `run` is its body.

    `_requests` is appended to by the threads that call `ask` and emptied by the poll
    thread, in atomic steps. `_flag` is set by them and by news from the stream.
    """

    def __init__(
        self,
        settings: Settings,
        client: SidecarClient,
        verifier: Verifier | None,
        store: Store,
        health: Health,
    ) -> None:
        self._settings = settings
        self._client = client
        self._verifier = verifier
        self._store = store
        self._health = health
        self._requests: deque[AnswerRequest] = deque()
        self._flag = Flag()
        self._failing = False
        self._asked_at = -inf
        self._due = -inf  # when to ask next, without news

    def run(self) -> None:
        """Ask, verify, pause, and again, until the store is closed."""
        with self._store.waking(self._flag, by_news=True):
            while not self._store.closed:
                self._round()
                self._wait()
        self._client.close()
        if self._verifier is not None:
            self._verifier.close()
        _answer(self._take_requests(), "stopped meanwhile")

    def _round(self) -> None:
        """Do what is due."""
        requests = self._take_requests()
        asks = bool(requests) or now() >= self._next_get()
        if self._store.news or not asks:  # an event may have named us: it must not wait for a GET
            self._verify(at_once=False)
        failure: ExchangeFailed | None = None
        if asks:
            self._asked_at = now()
            self._store.news = False
            self._health.poll_due = self._asked_at + 4 * self._settings.request_timeout
            failure = self._ask()
            self._due = self._asked_at + self._pause(failure)
            self._verify(at_once=bool(requests))
        self._health.check_overrun(self._settings.poll_interval)
        _answer(requests, None if failure is None else str(failure))

    def _verify(self, *, at_once: bool) -> None:
        if self._verifier is not None and (at_once or now() >= self._verifier.due()):
            self._verifier.verify()

    def ask(self) -> AnswerRequest:
        """Ask at once, whatever the pause; for any thread."""
        request = AnswerRequest()
        self._requests.append(request)
        self._flag.set()
        if self._store.closed:  # the poll thread may have ended before
            _answer(self._take_requests(), "stopped meanwhile")
        return request

    def _take_requests(self) -> list[AnswerRequest]:
        requests = []
        with suppress(IndexError):
            while True:
                requests.append(self._requests.popleft())
        return requests

    def _ask(self) -> ExchangeFailed | None:
        """Ask once; None if there was an answer."""
        began = now()
        try:
            take_answer(self._client.ask(), self._store)
        except ExchangeFailed as failure:
            if self._client.cancelled:
                return ExchangeFailed("stopped meanwhile")
            self._failing = True
            self._health.record(GetFailed(str(failure), now() - began))
            return failure
        except Exception as bug:  # leadership expires after the grace period
            self._failing = True
            if not self._client.cancelled:  # else a library may have met the end in any way
                self._health.record(UnexpectedError(threading.current_thread().name, bug))
            return ExchangeFailed("internal error")
        self._health.record(GetAnswered(now() - began))
        if self._failing:
            self._failing = False
            self._store.add_recovery()
        return None

    def _pause(self, failure: ExchangeFailed | None) -> float:
        """Seconds from one GET to the next, without news; never so long as to cost the grace."""
        settings = self._settings
        if failure is None and self._store.stream == "open":
            return settings.reconcile_interval
        asked_to_wait = 0.0 if failure is None else failure.retry_after or 0.0
        longest = max(settings.poll_interval, settings.reconcile_interval)
        return min(max(settings.poll_interval, asked_to_wait), longest)

    def _next_get(self) -> float:
        """When to ask next: at the end of the pause, or a second after the last GET for news."""
        if not self._store.news:
            return self._due
        return min(self._due, self._asked_at + LEAST_PAUSE)

    def _wait(self) -> None:
        """Wait until something is due, or requested."""
        while not self._store.closed and not self._requests:
            due = self._next_get()
            if self._verifier is not None:
                due = min(due, self._verifier.due())
            self._health.poll_due = due
            left = due - now()
            if left <= 0:
                return
            self._flag.wait(left)
            self._flag.clear()


def take_answer(answer: Answer, store: Store) -> None:
    """Take in the answer to a GET. ``{}`` is an answer, but confirms nothing.

    It counts from the moment at which it was asked, so that it never overwrites news that
    came in meanwhile.
    """
    if answer.leader is not None:
        store.confirm(answer.leader, answer.asked_at)


def _answer(requests: list[AnswerRequest], failure: str | None) -> None:
    for request in requests:
        request.failure = failure
        request.done.set()

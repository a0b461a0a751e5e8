"""Repeated attempts: the pauses between them, and their end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from elector_thread._state.backoff import HEALTHY, Attempt, keep_trying


class Stopped(Exception):
    """An attempt too many."""


class Attempts:
    """Attempts that end as given, and the pauses between them."""

    def __init__(self, *results: Attempt) -> None:
        self._results: Iterator[Attempt] = iter(results)
        self.left = len(results)
        self.pauses: list[float] = []

    def __call__(self) -> Attempt:
        self.left -= 1
        self.pauses.append(0.0)
        result = next(self._results, None)
        if result is None:
            raise Stopped
        return result

    def run(self, longest_pause: float = 300.0) -> list[float]:
        """The pauses; an attempt without a pause before it, but the first, leaves a 0."""
        keep_trying(
            self,
            longest_pause=longest_pause,
            sleep=self._pause,
            finished=lambda: self.left == 0,
        )
        return self.pauses[:-1]

    def _pause(self, seconds: float) -> None:
        self.pauses[-1] = seconds


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause is the longest that it can be."""

    def uniform(lowest: float, highest: float) -> float:
        assert lowest == 0
        return highest

    monkeypatch.setattr("tenacity.wait.random.uniform", uniform)


FAILED = Attempt(lasted=0.0)


def test_nothing_is_tried_once_finished() -> None:
    attempts = Attempts()
    assert attempts.run() == []
    assert attempts.left == 0


def test_no_pause_follows_the_last_attempt() -> None:
    attempts = Attempts(FAILED)
    attempts.run()
    assert attempts.pauses == [0.0]


@pytest.mark.usefixtures("longest")
def test_the_pauses_may_double_up_to_the_longest() -> None:
    assert Attempts(*[FAILED] * 7).run(longest_pause=10.0) == [1, 2, 4, 8, 10, 10]


def test_a_pause_is_anything_up_to_its_bound() -> None:
    first = [Attempts(FAILED, FAILED).run()[0] for _ in range(100)]
    assert all(0 <= pause <= 1 for pause in first)
    assert len(set(first)) > 90, "drawn anew each time"


@pytest.mark.usefixtures("longest")
def test_an_attempt_may_say_how_long_to_pause() -> None:
    stated = Attempt(lasted=0.0, pause=300.0)
    assert Attempts(FAILED, stated, FAILED, FAILED).run(longest_pause=10.0) == [1, 300, 4]


@pytest.mark.usefixtures("longest")
def test_after_an_attempt_that_went_well_for_long_the_pauses_begin_anew() -> None:
    well, briefly = Attempt(lasted=HEALTHY), Attempt(lasted=HEALTHY - 1)
    attempts = Attempts(FAILED, FAILED, briefly, FAILED, well, FAILED, FAILED, FAILED)
    assert attempts.run() == [1, 2, 4, 8, 1, 2, 4]


def test_an_attempt_that_raises_ends_the_series() -> None:
    attempts = Attempts(FAILED)
    attempts.left = 5
    with pytest.raises(Stopped):
        attempts.run()


@pytest.mark.usefixtures("longest")
def test_thousands_of_attempts_are_no_burden() -> None:
    assert Attempts(*[FAILED] * 3000).run()[-1] == 300.0


def test_nothing_is_tried_after_a_pause_in_which_it_was_finished() -> None:
    attempts = Attempts(FAILED, FAILED)
    paused: list[float] = []
    keep_trying(attempts, longest_pause=10.0, sleep=paused.append, finished=lambda: bool(paused))
    assert attempts.left == 1

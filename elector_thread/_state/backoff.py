"""Repeated attempts with growing pauses: full jitter, by tenacity."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tenacity import RetryCallState, Retrying, wait_random_exponential

__all__ = ["HEALTHY", "Attempt", "keep_trying"]

HEALTHY = 60.0
"""Seconds that an attempt must last for the pauses to begin anew."""


class Attempt(NamedTuple):
    """How an attempt went.

    lasted: the seconds for which it went well.
    pause: the seconds until the next one; None: what the back-off says.
    """

    lasted: float
    pause: float | None = None


def keep_trying(
    attempt: Callable[[], Attempt],
    *,
    longest_pause: float,
    sleep: Callable[[float], object],
    finished: Callable[[], bool],
) -> None:
    """Call ``attempt()`` again and again until ``finished()``.

    longest_pause: seconds; the ceiling of the pauses.
    sleep: waits for the given seconds, less if there is a reason.
    """
    jitter = wait_random_exponential(multiplier=1, max=longest_pause)

    def pause_after(state: RetryCallState) -> float:
        assert state.outcome is not None, "tenacity asks after an attempt"
        ended: Attempt = state.outcome.result()
        if ended.lasted >= HEALTHY:
            state.attempt_number = 1  # tenacity itself never counts anew
        return jitter(state) if ended.pause is None else ended.pause

    def pause(seconds: float) -> None:
        sleep(seconds)

    def try_once() -> Attempt:
        return Attempt(0.0) if finished() else attempt()

    Retrying(
        retry=lambda _: True,
        wait=pause_after,
        stop=lambda _: finished(),
        sleep=pause,
        retry_error_callback=lambda _: None,
    )(try_once)

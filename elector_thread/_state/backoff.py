"""Repeated attempts with growing pauses: full jitter, by tenacity.

tenacity never resets the number of an attempt, so a new series begins after each
attempt that went well for long enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tenacity import RetryCallState, Retrying, retry_if_result, wait_random_exponential

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
        return jitter(state) if ended.pause is None else ended.pause

    def pause(seconds: float) -> None:
        sleep(seconds)

    def attempt_unless_finished() -> Attempt:
        return Attempt(0.0) if finished() else attempt()  # it may have finished in a pause

    while not finished():
        Retrying(
            retry=retry_if_result(lambda ended: ended.lasted < HEALTHY),
            wait=pause_after,
            stop=lambda _: finished(),
            sleep=pause,
            retry_error_callback=lambda _: None,
        )(attempt_unless_finished)

"""Calls ``stop(None)`` in the midst of an operation, as a signal handler does, at many points.

A handler runs between two steps of the main thread, which continues only when the handler has
returned: whatever the main thread holds then is held for as long. A trace function is called at
the same points, one of them in each round. Ends with a traceback of all threads if a round
hangs.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from elector_thread import Elector, ElectorError

HANG = 30.0
"""Seconds after which a round hangs."""

MOST_ROUNDS = 250

log = logging.getLogger("application")


def ignore(*_: object) -> None:
    """A callback."""


def register_and_remove(elector: Elector) -> None:
    elector.on_elected(ignore)
    elector.remove(ignore)


def start_a_thread(_: Elector) -> None:
    thread = threading.Thread(target=ignore)
    thread.start()
    thread.join()


OPERATIONS: dict[str, Callable[[Elector], object]] = {
    "start": Elector.start,
    "start again": lambda elector: elector.stop(None) and elector.start(),
    "stop": lambda elector: elector.stop(None),
    "refresh": Elector.refresh,
    "refresh beside the threads": Elector.refresh,
    "wait_until_known": lambda elector: elector.wait_until_known(HANG),
    "wait_until_known, idle": lambda elector: elector.wait_until_known(HANG),
    "on_elected and remove": register_and_remove,
    "status": Elector.status,
    "log": lambda _: log.error("a line of the application's"),
    "start a thread": start_a_thread,
}
IDLE = {"start", "refresh", "wait_until_known, idle"}
"""Those that begin with an elector that was never started."""


class Interruption:
    """Calls ``handler`` once, at the ``position``-th line that is run, in any module."""

    def __init__(self, position: int, handler: Callable[[], object]) -> None:
        self._left = position
        self._handler = handler

    @property
    def done(self) -> bool:
        return self._left == 0

    def trace(self, frame: FrameType, kind: str, _: object) -> Any:
        if self.done or frame.f_code.co_filename == __file__:
            return self.trace
        if kind == "line":
            self._left -= 1
            if self.done:
                self._handler()  # which is not traced
        return self.trace


def make(get_url: str, sse_url: str, *, running: bool) -> Elector:
    """An elector whose callbacks use everything that has a lock."""
    elector = Elector(get_url=get_url, sse_url=sse_url, identity="pod-a", request_timeout=5.0)
    announced = threading.Event()
    elector.on_elected(announced.set)

    @elector.on_demoted
    def use_everything() -> None:
        log.error("another line")
        register_and_remove(elector)
        elector.status()

    @elector.while_leader
    def wait(leadership: Any) -> None:
        leadership.wait()

    if running:
        elector.start()
        assert announced.wait(HANG)
    return elector


def interrupt(elector: Elector, operation: Callable[[Elector], object], position: int) -> bool:
    """Run ``operation`` and stop the elector in its midst; False if it has fewer lines."""
    interruption = Interruption(position, lambda: elector.stop(None))
    trace = interruption.trace  # sys.settrace keeps no reference of its own to a bound method
    sys.settrace(trace)
    try:
        operation(elector)
    except ElectorError:  # an exchange that the stop has ended
        pass
    finally:
        sys.settrace(None)
    return interruption.done


def main(name: str, get_url: str, sse_url: str) -> None:
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.getLogger("elector_thread").setLevel("INFO")
    rounds, position, step = 0, 1, 1
    while rounds < MOST_ROUNDS:
        faulthandler.dump_traceback_later(HANG, exit=True)
        elector = make(get_url, sse_url, running=name not in IDLE)
        interrupted = interrupt(elector, OPERATIONS[name], position)
        assert elector.stop(None)
        assert not elector.is_leader
        if not interrupted:
            break
        rounds += 1
        position += step
        step += rounds % 10 == 0  # at first each line, then fewer and fewer
    faulthandler.cancel_dump_traceback_later()
    print("rounds:", rounds)


if __name__ == "__main__":
    main(*sys.argv[1:])

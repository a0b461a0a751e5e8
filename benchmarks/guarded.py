"""What a guarded call costs, with and without an observer, against a call of the bare function.

Taken in turns within one process, several processes, as in `reads`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import timeit
from statistics import median

from .table import Row

__all__ = ["measure"]

PROCESSES = 5
TURNS = 300
CALLS = 500  # in a turn

BARE = "bare"
GUARDED = "guarded"
OBSERVED = "observed"
COUNTED = "counted"


def measure() -> list[Row]:
    turns = [_turns() for _ in range(PROCESSES)]

    def row(what: str, name: str, yardstick: str, bound: float | None) -> Row:
        ratios = [
            median(a / b for a, b in zip(one[name], one[yardstick], strict=True)) for one in turns
        ]
        cost, other = (median(median(one[n]) for one in turns) for n in (name, yardstick))
        return Row(
            what, f"{cost * 1e9:,.0f} ns", f"{other * 1e9:,.0f} ns", median(ratios), "x", bound
        )

    return [
        row("guarded call without an observer, vs the bare function", GUARDED, BARE, None),
        row("guarded call with an empty observer, vs without", OBSERVED, GUARDED, None),
        row("guarded call with the observer of metrics, vs without", COUNTED, GUARDED, None),
    ]


def _turns() -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.guarded"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    costs: dict[str, list[float]] = json.loads(run.stdout)
    return costs


# --- the process that takes turns ---------------------------------------------------------


def take_turns() -> None:
    from elector_thread import Elector
    from elector_thread.instrumentation import _recorder, add_observer, remove_observer

    def work() -> None:
        pass

    def ignore(_: object) -> None:
        pass

    elector = Elector(when_unconfigured="lead").start()
    assert elector.wait_until_leader(5)
    guarded = elector.only_on_leader(work)
    kinds = [(BARE, work, None), (GUARDED, guarded, None), (OBSERVED, guarded, ignore)]
    kinds.append((COUNTED, guarded, _recorder.Recorder()))
    costs: dict[str, list[float]] = {name: [] for name, *_ in kinds}
    for _ in range(TURNS):
        for name, function, observer in kinds:
            if observer is not None:
                add_observer(observer)
            costs[name].append(timeit.timeit(function, number=CALLS) / CALLS)
            if observer is not None:
                remove_observer(observer)
    elector.stop()
    print(json.dumps(costs))


if __name__ == "__main__":
    take_turns()

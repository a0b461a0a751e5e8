"""What `is_leader` costs, against a clock reading and against asking over HTTP.

A pyperf script, run several times over by `measure`: each round measures everything
once, so that a ratio compares neighbours and outlives a machine whose speed drifts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import pyperf

from .server import elector_process
from .table import Row

__all__ = ["measure"]

ME = "me"
ROUNDS = 4
READERS = 4
EVENTS_PER_SECOND = 200
DUPLICATES = 100  # so that the measuring loop itself does not count

CLOCK = "time.monotonic()"
LEADING = "is_leader, leading"
FOLLOWING = "is_leader, following"
GET = "GET"
BUSY_READ = "is_leader, four threads"
BUSY_GET = "GET, four threads"


def measure() -> list[Row]:
    with elector_process(ME) as quiet, elector_process(ME, EVENTS_PER_SECOND) as busy:
        rounds = [_round(quiet, busy) for _ in range(ROUNDS)]
    cost = {name: median(one[name] for one in rounds) for name in rounds[0]}

    def row(what: str, a: str, b: str, bound: float, at_least: bool = False) -> Row:
        ratios = [one[b] / one[a] if at_least else one[a] / one[b] for one in rounds]
        return Row(what, _time(cost[a]), _time(cost[b]), median(ratios), "x", bound, at_least)

    return [
        row("is_leader while leading, vs time.monotonic()", LEADING, CLOCK, 2.5),
        row("is_leader while following, vs time.monotonic()", FOLLOWING, CLOCK, 2.5),
        row("is_leader cheaper than requests.get(url).json()", LEADING, GET, 2000, True),
        row(
            f"the same, {READERS} threads and {EVENTS_PER_SECOND} events/s",
            BUSY_READ,
            BUSY_GET,
            2000,
            True,
        ),
    ]


def _time(seconds: float) -> str:
    return f"{seconds * 1e9:,.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:,.0f} us"


def _round(quiet: dict[str, str], busy: dict[str, str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "round.json")
        command = [sys.executable, "-m", "benchmarks.reads", "--quiet", "-o", str(result)]
        command += ["--processes", "2", "--values", "3", "--warmups", "1", "--min-time", "0.02"]
        command += ["--inherit-environ", "BENCH_QUIET,BENCH_BUSY"]
        environ = {"BENCH_QUIET": quiet["get_url"], "BENCH_BUSY": busy["get_url"]}
        subprocess.run(
            command, check=True, env={**os.environ, **environ}, stdout=subprocess.DEVNULL
        )
        suite = pyperf.BenchmarkSuite.load(str(result))
    return {benchmark.get_name(): benchmark.median() for benchmark in suite}


# --- the pyperf script ------------------------------------------------------------------


def script() -> None:
    import requests  # only here: `measure` itself needs no more than pyperf

    from elector_thread import Elector

    quiet, busy = os.environ["BENCH_QUIET"], os.environ["BENCH_BUSY"]
    leading = Elector(get_url=quiet, sse_url=f"{quiet}sse", identity=ME)
    following = Elector(get_url=quiet, sse_url=f"{quiet}sse", identity="not-me")
    hearing = Elector(get_url=busy, sse_url=f"{busy}sse", identity=ME)
    runner = pyperf.Runner(program_args=("-m", "benchmarks.reads"))
    runner.parse_args()
    if runner.args.worker:
        for elector in (leading, following, hearing):
            elector.start()
            assert elector.wait_until_known(5)
        assert leading.is_leader
        assert not following.is_leader

    names = {"time": time, "elector": leading}
    runner.timeit(CLOCK, "time.monotonic()", globals=names, duplicate=DUPLICATES)
    runner.timeit(LEADING, "elector.is_leader", globals=names, duplicate=DUPLICATES)
    runner.timeit(
        FOLLOWING, "elector.is_leader", globals={"elector": following}, duplicate=DUPLICATES
    )

    def get(url: str, loops: int) -> None:
        for _ in range(loops):
            assert requests.get(url).json()["name"] == ME

    def read(elector: Elector, loops: int) -> None:
        for _ in range(loops):
            elector.is_leader  # noqa: B018 - reading is what is measured

    def quietly(loops: int) -> float:
        began = time.perf_counter()
        get(quiet, loops)
        return time.perf_counter() - began

    runner.bench_time_func(GET, quietly)
    runner.bench_time_func(BUSY_READ, lambda loops: _by_threads(lambda: read(hearing, loops)))
    runner.bench_time_func(BUSY_GET, lambda loops: _by_threads(lambda: get(quiet, loops)))


def _by_threads(work: object) -> float:
    """Seconds until each of the threads has done ``work``."""
    assert callable(work)
    threads = [threading.Thread(target=work) for _ in range(READERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


if __name__ == "__main__":
    script()

"""What `is_leader` costs, against a clock reading and against asking over HTTP.

Against the clock, in turns of half a millisecond within one process, since a ratio of
nanoseconds does not outlive a machine whose speed drifts; several processes, since
each is laid out differently. The rest by pyperf, several rounds of everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from pathlib import Path
from statistics import median

import pyperf

from .server import LEASE_PATH, elector_process
from .table import Row

__all__ = ["measure"]

ME = "me"
ROUNDS = 4
PROCESSES = 7
TURNS = 300
READERS = 4
EVENTS_PER_SECOND = 200
DUPLICATES = 100  # so that the measuring loop itself does not count

CLOCK = "time.monotonic()"
LEADING = "is_leader, leading"
FOLLOWING = "is_leader, following"
VERIFIED = "is_leader, leading by the Lease"
GET = "GET"
BUSY_READ = "is_leader, four threads"
BUSY_GET = "GET, four threads"


def measure() -> list[Row]:
    with elector_process(ME) as quiet, elector_process(ME, EVENTS_PER_SECOND) as busy:
        turns = [_turns(quiet) for _ in range(PROCESSES)]
        rounds = [_round(quiet, busy) for _ in range(ROUNDS)]

    def against_clock(what: str, name: str) -> Row:
        ratios = [
            median(a / b for a, b in zip(one[name], one[CLOCK], strict=True)) for one in turns
        ]
        cost, clock = (median(median(one[n]) for one in turns) for n in (name, CLOCK))
        return Row(what, _time(cost), _time(clock), median(ratios), "x", 2.5)

    def against_get(what: str, read: str, get: str) -> Row:
        ratio = median(one[get] / one[read] for one in rounds)
        cost, other = (median(one[name] for one in rounds) for name in (read, get))
        return Row(what, _time(cost), _time(other), ratio, "x", 2000, at_least=True)

    return [
        against_clock("is_leader while leading, vs time.monotonic()", LEADING),
        against_clock("is_leader while following, vs time.monotonic()", FOLLOWING),
        against_clock('is_leader with verify="lease", vs time.monotonic()', VERIFIED),
        against_get("is_leader cheaper than requests.get(url).json()", LEADING, GET),
        against_get(
            f"the same, {READERS} threads and {EVENTS_PER_SECOND} events/s", BUSY_READ, BUSY_GET
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


def _turns(quiet: dict[str, str]) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.reads", "turns", quiet["get_url"]]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    costs: dict[str, list[float]] = json.loads(run.stdout)
    return costs


# --- the process that takes turns ---------------------------------------------------------


def take_turns(url: str) -> None:
    from elector_thread import Elector

    names: dict[str, object] = {"time": time}
    os.environ["ELECTOR_THREAD_LEASE_URL"] = url.rstrip("/") + LEASE_PATH
    for name, identity in (("leading", ME), ("following", "not-me"), ("verified", ME)):
        verify = "lease" if name == "verified" else "none"
        elector = Elector(get_url=url, sse_url=f"{url}sse", identity=identity, verify=verify)
        elector.start()
        assert elector.wait_until_known(5)
        assert elector.is_leader is (identity == ME)
        names[name] = elector
    statements = {
        CLOCK: "time.monotonic()",
        LEADING: "leading.is_leader",
        FOLLOWING: "following.is_leader",
        VERIFIED: "verified.is_leader",
    }
    timers = {
        name: timeit.Timer("; ".join([statement] * DUPLICATES), globals=names)
        for name, statement in statements.items()
    }
    costs: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(TURNS):
        for name, timer in timers.items():
            costs[name].append(timer.timeit(50) / 50 / DUPLICATES)
    print(json.dumps(costs))


# --- the pyperf script ------------------------------------------------------------------


def script() -> None:
    import requests  # only here: `measure` itself needs no more than pyperf

    from elector_thread import Elector

    quiet, busy = os.environ["BENCH_QUIET"], os.environ["BENCH_BUSY"]
    leading = Elector(get_url=quiet, sse_url=f"{quiet}sse", identity=ME)
    hearing = Elector(get_url=busy, sse_url=f"{busy}sse", identity=ME)
    runner = pyperf.Runner(program_args=("-m", "benchmarks.reads"))
    runner.parse_args()
    if runner.args.worker:
        for elector in (leading, hearing):
            elector.start()
            assert elector.wait_until_known(5)
        assert leading.is_leader

    runner.timeit(LEADING, "elector.is_leader", globals={"elector": leading}, duplicate=DUPLICATES)

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
    if sys.argv[1:2] == ["turns"]:
        take_turns(sys.argv[2])
    else:
        script()

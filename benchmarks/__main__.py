"""Runs every benchmark and prints one table: ``python -m benchmarks [--json] [NAME ...]``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable

from . import guarded, imports, latency, memory, reads, rest, verification
from .table import Row, as_dict, rendered

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "reads": reads.measure,
    "latency": latency.measure,
    "imports": imports.measure,
    "rest": rest.measure,
    "memory": memory.measure,
    "verification": verification.measure,
    "guarded": guarded.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"expected some of {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    began = time.monotonic()
    rows: list[Row] = []
    for name in given.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name]()
    took = time.monotonic() - began
    if given.json:
        machine = {"python": platform.python_version(), "platform": platform.platform()}
        print(json.dumps({**machine, "seconds": took, "rows": [as_dict(row) for row in rows]}))
        return 0
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    print(rendered(rows))
    judged = [row.held for row in rows if row.held is not None]
    print(f"\n{sum(judged)} of {len(judged)} held, in {took:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

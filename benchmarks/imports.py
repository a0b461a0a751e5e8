"""What ``import elector_thread`` costs, against importing its dependencies alone.

Fresh interpreters. Each imports the dependencies first and the library right after, so
that both are timed on the same machine at the same moment: the library's own import is
everything up to the end of the second.
"""

from __future__ import annotations

import compileall
import importlib.util
import subprocess
import sys
from statistics import median

from .table import Row

__all__ = ["measure"]

PROCESSES = 50
TIMED = """
from time import perf_counter
began = perf_counter()
import requests, sseclient, tenacity
halfway = perf_counter()
import elector_thread
print(perf_counter() - began, halfway - began)
"""


def measure() -> list[Row]:
    package = importlib.util.find_spec("elector_thread")
    assert package is not None
    for folder in package.submodule_search_locations or ():
        compileall.compile_dir(folder, quiet=1)  # as an installation does, dependencies' too
    _import()  # once uncounted: fills the system's cache
    pairs = [_import() for _ in range(PROCESSES)]
    ours, theirs = (median(pair[i] for pair in pairs) for i in (0, 1))
    ratio = median(a / b for a, b in pairs)
    what = "import elector_thread, vs requests + sseclient + tenacity"
    return [Row(what, f"{ours * 1e3:.0f} ms", f"{theirs * 1e3:.0f} ms", ratio, "x", 1.2)]


def _import() -> tuple[float, float]:
    command = [sys.executable, "-c", TIMED]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    ours, theirs = map(float, run.stdout.split())
    return ours, theirs

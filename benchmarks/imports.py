"""What ``import elector_thread`` costs, against importing its dependencies alone.

Fresh interpreters, in turn; each one times its own import statement.
"""

from __future__ import annotations

import compileall
import importlib.util
import subprocess
import sys
from statistics import median

from .table import Row

__all__ = ["measure"]

PAIRS = 30
OURS = "elector_thread"
DEPENDENCIES = "requests, sseclient, tenacity"
TIMED = "from time import perf_counter as t; s = t(); import {}; print(t() - s)"


def measure() -> list[Row]:
    package = importlib.util.find_spec(OURS)
    assert package is not None
    for folder in package.submodule_search_locations or ():
        compileall.compile_dir(folder, quiet=1)  # as an installation does, dependencies' too
    _import(OURS)  # once uncounted: fills the system's cache
    pairs = [(_import(OURS), _import(DEPENDENCIES)) for _ in range(PAIRS)]
    ours, theirs = (median(pair[i] for pair in pairs) for i in (0, 1))
    ratio = median(a / b for a, b in pairs)
    what = "import elector_thread, vs requests + sseclient + tenacity"
    return [Row(what, f"{ours * 1e3:.0f} ms", f"{theirs * 1e3:.0f} ms", ratio, "x", 1.1)]


def _import(what: str) -> float:
    command = [sys.executable, "-c", TIMED.format(what)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

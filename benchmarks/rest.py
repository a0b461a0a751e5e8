"""How often threads wake while nothing happens: context switches, counted by the system."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from .server import elector_process
from .table import Row

__all__ = ["measure"]

ME = "me"
SETTLE = 1.5  # seconds
SECONDS = 8.0
POLLING = {"poll_interval": 1.0, "reconcile_interval": 1.0, "grace_period": 4.0}
IDLE = {"poll_interval": 300.0, "reconcile_interval": 300.0, "grace_period": 1000.0}


def measure() -> list[Row]:
    if not Path("/proc/self/task").exists():
        print("rest: needs /proc, skipped", file=sys.stderr)
        return []
    with elector_process(ME) as urls:
        resting = [_start({**urls, **IDLE}), _start({**urls, **POLLING})]
        idle, polling = (json.loads(process.communicate()[0]) for process in resting)
    rows = [
        Row(
            f"wake-ups of {name} in {SECONDS:g} s at rest",
            str(idle[name]),
            "no poll due",
            idle[name],
            "",
            0,
        )
        for name in ("elector-dispatch", "elector-poll", "elector-stream")
    ]
    others = polling["elector-dispatch"] + polling["elector-stream"]
    # a confirmation moves the expiry timer, which finds that out once in a grace period
    bound = 2 * (SECONDS / POLLING["grace_period"] + 1)
    rows.append(
        Row(
            "the same while polling each second, without elector-poll",
            str(others),
            f"{polling['elector-poll']} by elector-poll",
            others,
            "",
            bound,
        )
    )
    return rows


def _start(settings: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.rest", json.dumps(settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# --- the process that rests -----------------------------------------------------------------


def _rest(settings: dict[str, float]) -> None:
    import threading

    from elector_thread import Elector

    Elector(identity=ME, **settings).start().wait_until_leader(5)  # type: ignore[arg-type]  # JSON
    time.sleep(SETTLE)
    threads = [t for t in threading.enumerate() if t.name.startswith("elector-")]
    before = {t.name: _switches(t.native_id) for t in threads}
    time.sleep(SECONDS)
    print(json.dumps({t.name: _switches(t.native_id) - before[t.name] for t in threads}))


def _switches(task: int | None) -> int:
    """How often the thread gave up the processor, each time to be woken again."""
    status = Path(f"/proc/self/task/{task}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


if __name__ == "__main__":
    _rest(json.loads(sys.argv[1]))

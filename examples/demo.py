"""The main job in one command: three real processes, real HTTP, one leader at a time.

Starts a local elector and three replicas of `worker.py`, kills the leader, lets
the next one take over, elects a third by hand and ends everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from elector_thread.local import LocalElector

WORKER = Path(__file__).with_name("worker.py")
NAMES = ["app-6d4c8f-x2k9p", "app-6d4c8f-b7tqz", "app-6d4c8f-m4wjn"]
COLOURS = {name: f"\033[3{code}m" for name, code in zip(NAMES, "645", strict=True)}
PATIENCE = 8.0  # seconds for anything to happen

lock = threading.Lock()  # one line at a time on the terminal
seen = threading.Condition()  # protects `lines`
lines: list[tuple[str, str]] = []


def show(who: str, text: str) -> None:
    colour, plain = (COLOURS.get(who, "\033[1m"), "\033[0m") if sys.stdout.isatty() else ("", "")
    with lock:
        print(f"{colour}{who:>16} |{plain} {text}", flush=True)


def follow(name: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        show(name, line.rstrip())
        with seen:
            lines.append((name, line))
            seen.notify_all()


def wait_for(wanted: Callable[[], bool], what: str) -> None:
    with seen:
        if not seen.wait_for(wanted, PATIENCE):
            sys.exit(f"demo: expected {what} within {PATIENCE:g} s")


def said(name: str, text: str, after: int = 0) -> Callable[[], bool]:
    return lambda: any(who == name and text in line for who, line in lines[after:])


def start(name: str, environ: dict[str, str]) -> subprocess.Popen[str]:
    env = {**os.environ, **environ, "HOSTNAME": name, "ELECTOR_THREAD_IDENTITY": name}
    return subprocess.Popen(
        [sys.executable, str(WORKER)], env=env, stdout=subprocess.PIPE, text=True
    )


def main() -> None:
    began = time.monotonic()
    replicas: dict[str, subprocess.Popen[str]] = {}
    with LocalElector() as elector:
        show("demo", f"a local elector answers at {elector.get_url}")
        try:
            for name in NAMES:
                replicas[name] = start(name, elector.environ)
                threading.Thread(target=follow, args=(name, replicas[name]), daemon=True).start()
            first, second, third = NAMES
            show("demo", f"three replicas start; the platform elects {first}")
            elector.elect(first)
            wait_for(said(first, "round 2"), f"{first} to work")
            for name in NAMES:
                wait_for(said(name, f"sees that {first} leads"), f"{name} to know the leader")

            show("demo", f"kill -9 {first}: the platform elects {second}")
            replicas[first].kill()
            replicas[first].wait()
            elector.elect(second)
            wait_for(said(second, "round 2"), f"{second} to take over")

            show("demo", f"elected by hand: {third}")
            elector.elect(third)
            wait_for(said(second, "I lead no longer"), f"{second} to step down")
            wait_for(said(third, "round 2"), f"{third} to take over")
            show("demo", "ends the remaining replicas")
        finally:
            for process in replicas.values():
                process.terminate()
            for process in replicas.values():
                process.wait(PATIENCE)
    show("demo", f"done in {time.monotonic() - began:.1f} s: one leader at a time, all along")


if __name__ == "__main__":
    main()

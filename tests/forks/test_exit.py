"""The interpreter's end: steps down, says goodbye, prints nothing of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.scripted import ScriptedServer

SETUP = """
import logging, os, sys, threading, time
from elector_thread import Elector
elector = Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a")
elector.on_demoted(lambda: os.write(1, b"demoted"))
"""
RUN = """
elector.start()
assert elector.wait_until_leader(10)
told = threading.Event()
elector.on_elected(told.set)
assert told.wait(10)
"""
STUCK = """
def tell():  # registered before the library's own handler, so it runs after that
    os.write(1, b"in time" if time.monotonic() - began < 2.5 else b"late")
stuck = threading.Event()
elector.on_elected(lambda: (stuck.set(), time.sleep(60)))
"""
CHATTER = """
logging.basicConfig(level="DEBUG", filename=os.devnull)
def chatter():
    while True:
        logging.getLogger("elector_thread").info("busy")
        elector.status()
for _ in range(2):
    threading.Thread(target=chatter, daemon=True).start()
"""


@dataclass
class Way:
    """One way to end, and what is to be seen of it."""

    code: str
    exit_code: int = 0
    out: str = "demoted"
    last_line: str = ""
    interrupted: bool = False


WAYS = {
    "the end of the script": Way(SETUP + RUN),
    "sys.exit": Way(SETUP + RUN + "sys.exit(3)", 3),
    "an exception": Way(SETUP + RUN + "raise KeyError", 1, last_line="KeyError"),
    "KeyboardInterrupt": Way(
        SETUP + RUN + "os.write(1, b'.'); time.sleep(60)",
        -signal.SIGINT,
        ".demoted",
        "KeyboardInterrupt",
        interrupted=True,
    ),
    "os._exit": Way(SETUP + RUN + "os._exit(4)", 4, ""),
    "a stuck callback": Way(
        f"import atexit\natexit.register(lambda: tell())\n{SETUP}{STUCK}"
        "elector.start()\nstuck.wait(10)\nbegan = time.monotonic()",
        out="in time",  # 2 s, and not told of the end, since the callback before it never ended
    ),
    "daemon threads that log": Way(SETUP + CHATTER + RUN),
    "nothing ever started": Way(SETUP, out=""),
}


@dataclass
class Ended:
    exit_code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def ended() -> Iterator[dict[str, Ended]]:
    """All of them, at the same time."""
    seen = {}
    with ScriptedServer("pod-a") as server:
        script = [sys.executable, "-c"]
        urls = [server.get_url, server.sse_url]
        running = {
            name: subprocess.Popen(
                [*script, f"{way.code}\n", *urls],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, way in WAYS.items()
        }
        try:
            for name, process in running.items():
                if WAYS[name].interrupted:
                    assert process.stdout is not None
                    assert process.stdout.read(1) == "."
                    process.send_signal(signal.SIGINT)
            for name, process in running.items():
                out, err = process.communicate(timeout=30)
                seen[name] = Ended(process.returncode, out, err)
        finally:
            for process in running.values():
                process.kill()
        yield seen


@pytest.mark.parametrize("name", WAYS)
def test_the_exit_steps_down_and_prints_nothing(ended: dict[str, Ended], name: str) -> None:
    way, seen = WAYS[name], ended[name]
    assert seen.exit_code == way.exit_code
    assert seen.out == way.out.removeprefix("." if way.interrupted else "")
    assert seen.err.strip().rpartition("\n")[2] == way.last_line
    assert "elector" not in seen.err.replace("elector.", "")

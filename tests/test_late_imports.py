"""Nothing is imported while the threads run: a fork in the middle of an import loses it.

In the forked child the module that another thread was importing is never complete, and
whatever needs it fails for good.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import FAST
from .scripted import Connection, ScriptedServer, answer

PROGRAM = """
import json, logging, sys, threading

from elector_thread import Elector, ElectorUnavailableError

settings = json.loads(sys.argv[1])
elected, demoted, failed = threading.Event(), threading.Event(), threading.Event()

class Handler(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        if "raised" in record.getMessage():
            failed.set()

logging.basicConfig(level=logging.DEBUG, handlers=[Handler()])
elector = Elector(**settings)
elector.on_elected(elected.set)
elector.on_demoted(demoted.set)

@elector.on_demoted
def fail():
    raise ValueError("for the log")

@elector.while_leader
def work(leadership):
    leadership.wait()
    raise ValueError("for the log")

@elector.while_leader
async def work_async(leadership):
    await leadership.wait(0.01)
    await leadership.wait()

def late(step, happened=None):
    if happened is not None:
        assert happened.wait(30), step
    known = set(sys.modules)
    print(json.dumps([step, sorted(known - before)]), flush=True)
    before.update(known)
    sys.stdin.readline()

before = set(sys.modules)
elector.start()
late("on_elected", elected)
late("on_demoted", demoted)
late("a callback that raises", failed)
elector.refresh()
late("refresh")
try:
    elector.refresh()
except ElectorUnavailableError:
    pass
late("refresh without an answer")
elector.stop()
late("stop")
elector.refresh()
late("refresh when stopped")
"""

STEPS = [
    "on_elected",
    "on_demoted",
    "a callback that raises",
    "refresh",
    "refresh without an answer",
    "stop",
    "refresh when stopped",
]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "polling"])
@pytest.mark.parametrize("scope", ["pod", "process"])
def test_nothing_is_imported_after_the_start(
    server: ScriptedServer, tmp_path: Path, scope: str, stream: bool, host: str
) -> None:
    server.leader = "pod-a"
    good = server.on_get
    urls = {
        "get_url": f"http://{host}:{server.port}/",
        "sse_url": f"http://{host}:{server.port}/sse" if stream else None,
    }
    lock = {"lock_path": str(tmp_path / "lock")} if scope == "process" else {}
    settings = {**FAST, **urls, "identity": "pod-a", "scope": scope, **lock}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found: dict[str, list[str]] = {}
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        for line in program.stdout:
            step, modules = json.loads(line)
            found[step] = modules
            if step == "on_elected":
                server.elect("pod-b")
            elif step == "refresh":
                server.on_get = say_500
            elif step == "stop":
                server.on_get = good
            program.stdin.write("\n")
            program.stdin.flush()
        assert program.stderr is not None
        assert list(found) == STEPS, program.stderr.read()
    assert not any(found.values()), found


def say_500(connection: Connection) -> None:
    connection.send(answer(b"no", b"HTTP/1.1 500 No\r\n"))

"""gevent: patched before the import, after it, and after an elector was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_python
from tests.scripted import ScriptedServer

PATCH = "from gevent import monkey; monkey.patch_all()"
IMPORT = "from elector_thread import Elector, SKIPPED, only_on_leader"
MAKE = "elector = Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity='pod-a')"
SCRIPT = """
order = []

@elector.on_elected
def elected():
    order.append(f"elected {elector.is_leader}")
    elector.on_leader_change(lambda change: order.append(change.current))  # nothing is locked

@elector.on_demoted
def demoted():
    order.append(f"demoted {elector.is_leader}")

@elector.while_leader
def work(leadership):
    order.append("works")
    leadership.wait()
    order.append("done")

elector.start()
assert elector.wait_until_leader(10)
begun = threading.Event()
elector.on_elected(begun.set)
assert begun.wait(10)
refreshed = [threading.Thread(target=elector.refresh) for _ in range(3)]
for thread in refreshed:
    thread.start()
for thread in refreshed:
    thread.join()
pid = os.fork()
if pid == 0:
    logging.disable(logging.WARNING)  # that both processes have callbacks
    leads = not elector.is_leader and elector.wait_until_leader(10)
    time.sleep(0.1)  # the greenlets of the parent would run meanwhile
    os._exit(0 if leads and "demoted False" not in order else 1)
child = os.waitpid(pid, 0)[1]
began = time.monotonic()
stopped = elector.stop(timeout=None)
took = time.monotonic() - began
print(json.dumps({
    "order": order, "stopped": stopped, "prompt": took < 10, "child": child,
    "greenlets": type(threading.Thread(target=len)).__module__,
}))
"""
INHERITED = """
import logging, os, sys, time
from elector_thread import Elector
from elector_thread._runtime import podlock
logging.basicConfig(level="INFO", format="%(process)d %(message)s")
podlock.RECHECK = 0.02  # the thread that keeps the lock looks at its file all the time
elector = Elector(
    get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a",
    scope="process", lock_path=sys.argv[3], poll_interval=0.1, reconcile_interval=0.1,
)
elector.start()
assert elector.wait_until_leader(10)
pid = os.fork()
if pid == 0:
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    time.sleep(2.5)  # long enough for a second attempt to open a stream, which would be logged
    for file in files:
        os.fstat(file)
    os._exit(0)
print(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
ORDERS = {
    "before the import": [PATCH, IMPORT, MAKE],
    "after the import": [IMPORT, PATCH, MAKE],
    "after an elector was made": [IMPORT, MAKE, PATCH],
}


def test_the_threads_that_a_child_inherits_as_greenlets_do_nothing(tmp_path: Path) -> None:
    with ScriptedServer("pod-a") as server:
        urls = [server.get_url, server.sse_url]
        ended = run_python(f"{PATCH}\n{INHERITED}", *urls, str(tmp_path / "pod.lock"))
        pid, exit_code = ended.out.split()
        assert (exit_code, ended.exit_code) == ("0", 0), ended.err
        assert pid not in ended.err
        assert server.stream_requests == 1


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen of each order; they run at the same time, each as if in a pod of its own."""
    with ScriptedServer("pod-a") as server:
        running = {}
        for name, order in ORDERS.items():
            imports = "import json, logging, os, sys, time"
            code = "\n".join([imports, *order, "import threading", SCRIPT])
            script = [sys.executable, "-W", "ignore", "-c", code, server.get_url, server.sse_url]
            running[name] = subprocess.Popen(
                script,
                env={**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("pod"))},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        seen = {}
        for name, process in running.items():
            try:
                out, err = process.communicate(timeout=50)
            finally:
                process.kill()
            assert (process.returncode, err) == (0, "")
            seen[name] = json.loads(out)
    return seen


@pytest.mark.parametrize("name", ORDERS)
def test_patched(seen: dict[str, Any], name: str) -> None:
    found = seen[name]
    assert found["greenlets"].startswith("gevent")
    assert found["order"][0] == "elected True"
    assert set(found["order"][1:-2]) == {"pod-a", "works"}
    assert set(found["order"][-2:]) == {"done", "demoted False"}
    assert (found["stopped"], found["prompt"], found["child"]) == (True, True, 0)

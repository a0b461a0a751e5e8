"""A forked child's exit, while its parent was inside urllib3's connection pool."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .scripted import ScriptedServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits with pidfd_open")

PROGRAM = """
import gc, os, queue, select, signal, sys, threading, types

from elector_thread._sidecar import http
from elector_thread._sidecar.http import HttpClient

if "urllib3's own queue" in sys.argv:
    http._Pool.QueueCls = queue.LifoQueue

LOCKS = type(threading.Lock()), type(threading.RLock())
NOT_OURS = types.ModuleType, type, types.FunctionType, types.FrameType

def locks_of(start):
    "Every lock that can be reached from an object, but through code."
    seen, waiting = {id(start)}, [start]
    while waiting:
        for found in gc.get_referents(waiting.pop()):
            if id(found) in seen or isinstance(found, NOT_OURS):
                continue
            seen.add(id(found))
            if isinstance(found, LOCKS):
                yield found
            else:
                waiting.append(found)

client = HttpClient(sys.argv[1], "application/json", 5.0)
with client.get() as exchange:
    exchange.read(100)
assert client.reused

locks = list(locks_of(client))
assert client._adapter._pool.pool.mutex in locks
held, done = threading.Event(), threading.Event()

def hold():
    for lock in locks:
        lock.acquire(blocking=False)
    held.set()
    done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    client.transport.abandon()
    sys.exit(7)
descriptor = os.pidfd_open(child)
exited = bool(select.select([descriptor], [], [], 10 if len(sys.argv) == 2 else 1)[0])
if not exited:
    os.kill(child, signal.SIGKILL)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print("hung" if not exited else code, flush=True)
os._exit(0)  # here the locks are still held
"""


def run(*arguments: str) -> str:
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=40, check=False)
    return ran.stdout.strip() or ran.stderr


def test_a_lock_of_the_pool_that_was_held_does_not_hang_the_exit(server: ScriptedServer) -> None:
    assert run(server.get_url) == "7"


def test_with_the_queue_of_urllib3_it_would_hang(server: ScriptedServer) -> None:
    """Should this fail, the queue of ours may no longer be needed."""
    assert run(server.get_url, "urllib3's own queue") == "hung"

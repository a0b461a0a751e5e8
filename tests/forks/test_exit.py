"""The interpreter's exit: steps down, waits for nothing but user code, and prints nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.processes import Ended, run_python
from tests.scripted import Connection, ScriptedServer

SETUP = """
import logging, os, sys, threading, time
from elector_thread import Elector
elector = Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a")
elector.on_demoted(lambda: os.write(1, b"demoted"))
"""
RUN = """
elector.start()
assert elector.wait_until_leader(10)
announced = threading.Event()
elector.on_elected(announced.set)
assert announced.wait(10)
"""
STUCK = """
def report():  # registered before the library's own handler, so it runs after that
    os.write(1, b"in time" if time.monotonic() - began < 10 else b"late")
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
    """One way to end, and what is expected of it."""

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
        SETUP + RUN + "os.write(1, b'.')\nwhile True: time.sleep(0.05)",
        -signal.SIGINT,
        ".demoted",
        "KeyboardInterrupt",
        interrupted=True,
    ),
    "os._exit": Way(SETUP + RUN + "os._exit(4)", 4, ""),
    "a stuck callback": Way(
        f"import atexit\natexit.register(lambda: report())\n{SETUP}{STUCK}"
        "elector.start()\nstuck.wait(10)\nbegan = time.monotonic()",
        out="in time",  # without on_demoted, since the callback before it did not end
    ),
    "daemon threads that log": Way(SETUP + CHATTER + RUN),
    "nothing ever started": Way(SETUP, out=""),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """How each of them ended; they run at the same time, each as if in a pod of its own."""
    seen = {}
    with ScriptedServer("pod-a") as server:
        script = [sys.executable, "-c"]
        urls = [server.get_url, server.sse_url]
        running = {
            name: subprocess.Popen(
                [*script, f"{way.code}\n", *urls],
                env={**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("pod"))},
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
                out, err = process.communicate(timeout=50)
                seen[name] = Ended(process.returncode, out, err, 0.0)
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


PATIENCE = 10.0
"""Seconds: far more than an exit takes, and far less than what it must not wait for."""

CHAOS_SETUP = """
import atexit, logging, os, socket, sys, threading, time
began = None
atexit.register(lambda: print("exit", time.monotonic() - began))  # runs after the library's
"""
CHAOS_RUN = """
from elector_thread import Elector
settings = dict(request_timeout=60, poll_interval=60, reconcile_interval=60, grace_period=200)
with Elector(get_url=get_url, sse_url=sse_url, identity="pod-a", **settings) as elector:
    reached.wait(30)
    began = time.monotonic()
print("stop", time.monotonic() - began)
reached.clear()
elector = Elector(get_url=get_url, sse_url=sse_url, identity="pod-a", **settings).start()
asking = Elector(get_url=get_url, **settings)
threading.Thread(target=asking.refresh, daemon=True).start()
reached.wait(30)
sys.stderr = None  # the refresh fails
began = time.monotonic()
"""
URLS = """
get_url, sse_url = sys.argv[1:]
"""
CHAOS = {
    "a server that hangs within the body": """
reached = threading.Event()
real = socket.socket.recv_into
def recv_into(*args):
    count = real(*args)
    reached.set()
    return count
socket.socket.recv_into = recv_into
""",
    "a name that is looked up for ever": """
reached = threading.Event()
def look_up(*args, **options):
    reached.set()
    time.sleep(60)
socket.getaddrinfo = look_up
""",
    "a log handler that blocks": """
reached = threading.Event()
get_url = sse_url = "http://127.0.0.1:9/"  # refused, which is logged
class Blocking(logging.Handler):
    def handle(self, record):  # without the handler's lock, for which logging itself waits at exit
        reached.set()
        time.sleep(60)
logging.getLogger("elector_thread").addHandler(Blocking())
""",
    "a TLS handshake that hangs": """
reached = threading.Event()
silent = socket.create_server(("127.0.0.1", 0))
get_url = sse_url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
import ssl
real = ssl.SSLSocket.do_handshake
def do_handshake(*args):
    reached.set()
    real(*args)
ssl.SSLSocket.do_handshake = do_handshake
""",
}


@pytest.mark.parametrize("name", CHAOS)
def test_neither_a_stop_nor_an_exit_waits_for_input_or_output(name: str) -> None:
    def hang(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        connection.send(b"Content-Length: 9\r\n\r\n{")
        connection.wait_gone()

    with ScriptedServer("pod-a") as server:
        server.on_get = hang
        code = "\n".join([CHAOS_SETUP, URLS, CHAOS[name], CHAOS_RUN])
        ended = run_python(code, server.get_url, server.sse_url)
    assert ended.exit_code == 0, ended.err
    took = dict(line.split() for line in ended.out.splitlines())
    assert float(took["stop"]) < PATIENCE
    assert float(took["exit"]) < PATIENCE
    assert ended.seconds < 2 * PATIENCE, "the interpreter waited after its exit handlers"


def test_an_exit_waits_at_most_two_seconds_for_a_log_handler_on_the_dispatch_thread() -> None:
    code = """
reached = threading.Event()
class Blocking(logging.Handler):
    def handle(self, record):
        reached.set()
        time.sleep(60)
log = logging.getLogger("elector_thread")
log.setLevel("INFO")
log.addHandler(Blocking())
from elector_thread import Elector
elector = Elector(get_url=sys.argv[1], identity="pod-a").start()
assert reached.wait(30)
began = time.monotonic()
"""
    with ScriptedServer("pod-a") as server:
        ended = run_python(f"{CHAOS_SETUP}{code}", server.get_url)
    assert ended.exit_code == 0, ended.err
    assert float(ended.out.split()[1]) < PATIENCE


FORK = """
import gc, logging, os, queue, sys, threading, weakref
from contextlib import ExitStack
from elector_thread import Elector

def finalized():
    os.write(1, b"finalized ")

class Resource:
    pass

resource = Resource()
weakref.finalize(resource, finalized)  # before the elector starts, as urllib3's may be
elector = Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a")
announced = threading.Event()
elector.on_elected(announced.set)
elector.on_demoted(lambda: os.write(1, b"demoted "))
elector.start()
assert announced.wait(10)
pools = [one for one in gc.get_objects() if isinstance(one, queue.LifoQueue)]
assert pools
held = threading.Event()

def hold():
    with ExitStack() as stack:
        for pool in pools:
            stack.enter_context(pool.mutex)
        held.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
assert held.wait(10)
announced.clear()
pid = os.fork()
if pid == 0:
    logging.disable(logging.WARNING)  # that both processes have callbacks
    elector.post_fork()
    assert announced.wait(10)
    sys.exit(0)
print(pid, flush=True)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status), flush=True)
os._exit(0)
"""


def test_a_child_that_inherits_a_locked_pool_steps_down_at_its_exit() -> None:
    """urllib3's finalizer would wait for the lock of the pool for ever, and before us."""
    with ScriptedServer("pod-a") as server:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", FORK, server.get_url, server.sse_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # `communicate` would lose what `readline` has read ahead
        )
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            out, err = process.communicate(timeout=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            os.kill(child, signal.SIGKILL)
            out, err = process.communicate(timeout=PATIENCE)
        assert (out, err) == (b"demoted finalized 0\n", b"")

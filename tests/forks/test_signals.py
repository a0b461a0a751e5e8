"""``stop()`` in a signal handler, wherever it strikes, never deadlocks."""

from __future__ import annotations

import pytest

from tests.processes import run_python
from tests.scripted import ScriptedServer

from . import interrupted

RUN = "import sys; from tests.forks.interrupted import main; main(*sys.argv[1:])"


@pytest.mark.parametrize("name", interrupted.OPERATIONS)
def test_a_stop_without_a_limit_ends_wherever_it_strikes(name: str) -> None:
    with ScriptedServer("pod-a") as server:
        ended = run_python(RUN, name, server.get_url, server.sse_url, within=120.0)
    assert ended.exit_code == 0, ended.err
    assert int(ended.out.split()[-1]) > 20, "hardly any line was interrupted"


BURST = """
import logging, os, signal, sys, threading, time
from elector_thread import Elector, ElectorError
logging.basicConfig(level="INFO", filename=os.devnull)
faulthandler = __import__("faulthandler")
faulthandler.dump_traceback_later(100, exit=True)
strikes = depth = 0

def strike_in(seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds if striking else 0)

def handle(*_):
    global strikes, depth
    strikes += 1
    depth += 1
    if depth < 3:  # a stop within a stop
        strike_in(0.0005)
    elector.stop(None)
    depth -= 1
    strike_in(0.002)

signal.signal(signal.SIGALRM, handle)
settings = dict(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a")
began = time.monotonic()
rounds = 0
while rounds < 150 and time.monotonic() - began < 15:
    rounds += 1
    elector = Elector(**settings)
    elector.on_demoted(lambda: logging.info("demoted"))
    elector.while_leader(lambda leadership: leadership.wait())
    striking = True
    strike_in(0.0003 * (rounds % 40 + 1))
    try:
        elector.start()
        elector.on_elected(print)
        elector.status()
        elector.wait_until_known(0.05)
        elector.refresh()
        logging.info("a line of the application's")
        elector.stop()
    except ElectorError:
        pass
    finally:
        striking = False
        strike_in(0)
    assert elector.stop(None)
    assert not elector.is_leader
assert strikes > 20, strikes
faulthandler.cancel_dump_traceback_later()
os.write(1, b"done")
"""


def test_a_burst_of_signals_that_stop_it_leaves_a_process_that_ends_by_itself() -> None:
    with ScriptedServer("pod-a") as server:
        ended = run_python(BURST, server.get_url, server.sse_url, within=120.0)
    assert ended.exit_code == 0, ended.err
    assert "done" in ended.out

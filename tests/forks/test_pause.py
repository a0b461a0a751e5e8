"""A paused process: on waking it does not lead, before any of its threads has run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from tests.scripted import ScriptedServer

LEADER = """
import json, sys
from elector_thread import Elector
elector = Elector(
    get_url=sys.argv[1], identity="pod-a",
    poll_interval=0.2, reconcile_interval=0.2, request_timeout=0.2, grace_period=1.0,
).start()
assert elector.wait_until_leader(10)
while True:
    print(json.dumps(elector.is_leader), flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_was_paused_for_longer_than_the_grace_reads_false_on_waking() -> None:
    with ScriptedServer("pod-a") as server:
        process = subprocess.Popen(
            [sys.executable, "-c", LEADER, server.get_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline()) is True
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            server.close()  # nobody can tell it anything on waking
            process.stdin.write("look\n")
            process.stdin.flush()
            time.sleep(1.2)  # the pause itself: longer than the grace period
            os.kill(process.pid, signal.SIGCONT)
            assert json.loads(process.stdout.readline()) is False
        finally:
            process.kill()
            process.communicate()

"""A paused process: on waking it does not lead, before any of its threads has run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from tests.polling import until
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


FOLLOWED = """
import sys
from elector_thread import Elector
elector = Elector(
    get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a",
    poll_interval=2.0, reconcile_interval=2.0, request_timeout=1.0, grace_period=60.0,
)
elector.start()
while sys.stdin.readline():
    print(elector.status().counts.answers, elector.leader, flush=True)
"""


def test_news_right_after_a_pause_and_after_the_first_answer_is_not_lost() -> None:
    """It may have lain in the buffer since before that answer, so GET is asked at once."""
    with ScriptedServer("pod-a") as server:
        process = subprocess.Popen(
            [sys.executable, "-c", FOLLOWED, server.get_url, server.sse_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def look() -> tuple[int, str]:
            """How many answers the process has heard, and who leads, as it believes."""
            process.stdin.write("look\n")
            process.stdin.flush()
            answers, leader = process.stdout.readline().split()
            return int(answers), leader

        try:
            until(lambda: look() >= (1, "pod-a"))
            server.wait_streams()
            answers, _ = look()
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            time.sleep(3.5)  # the pause itself: later than it meant to ask, and a second more
            os.kill(process.pid, signal.SIGCONT)
            until(lambda: look()[0] > answers)
            began = time.monotonic()
            server.elect("pod-b")
            until(lambda: look()[1] == "pod-b")
            assert time.monotonic() - began < 1.5, "only the next regular GET has told it"
        finally:
            process.kill()
            process.communicate()

"""`elector-thread up` as it replaces replicas: `--restart` and `--rolling`."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from elector_thread.local.replicas import restart_delay

from ..processes import executable, is_alive
from .helpers import SLEEPER, STUBBORN, Up, leaders, pids

pytestmark = [
    pytest.mark.timeout(40),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

LAST_LOOK = """
import json, os, signal, sys, urllib.request

def leader():
    with urllib.request.urlopen(os.environ["ELECTOR_GET_URL"]) as answer:
        return json.load(answer).get("name")

def end(*_):
    print("asked to go while", leader(), "leads")
    sys.exit()

signal.signal(signal.SIGTERM, end)
print("up")
signal.pause()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a file, to be moved away while it runs."""
    return executable(tmp_path / "app", "echo pid $$; exec sleep 300")


def test_restart_replaces_with_back_off_under_a_new_name() -> None:
    began = time.monotonic()
    with Up("-n", "1", "--restart", "--", "sh", "-c", "echo pid $$; sleep 0.1; exit 3") as up:
        names = list(pids(up, 3).values())
        assert leaders(up, 3) == names

    assert len(set(names)) == 3
    assert time.monotonic() - began > 0.5 + 1.0, "two pauses"
    assert f"{names[0]} failed (exit code 3)" in up.errors[0]


def test_the_pauses_double_up_to_half_a_minute() -> None:
    pauses = [restart_delay(crashes) for crashes in range(1, 9)]

    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_rolling_starts_the_new_one_first_and_leadership_outlives_sigterm() -> None:
    command = [sys.executable, "-S", "-c", LAST_LOOK]
    with Up("-n", "2", "--rolling", "0.3", "--", *command) as up:
        asked = up.line(r"^(\S+) +\| asked to go while (\S+) leads")
        old, successor = leaders(up, 2)
        up.interrupt()

    assert (asked[1], asked[2]) == (old, old)
    before = up.lines[: up.lines.index(asked.string)]
    ups = [line.split()[0] for line in before if line.endswith("| up")]
    assert len(ups) == 3, "the new one is up before the old one is asked"
    assert successor in set(ups) - {old}


def test_rolling_keeps_the_old_one_if_the_new_one_does_not_start(tmp_path: Path) -> None:
    script = 'mkdir "$ONCE/1" 2>/dev/null || exit 3; echo pid $$; exec sleep 300'
    arguments = ["-n", "1", "--rolling", "0.2", "--", "sh", "-c", script]
    with Up(*arguments, ONCE=str(tmp_path)) as up:
        ((pid, old),) = pids(up, 1).items()
        up.line(rf"did not start; keeping {old}", stderr=True)

        assert is_alive(pid)
        assert leaders(up, 1) == [old]
        assert up.interrupt() == 130


def test_rolling_keeps_the_old_one_if_the_program_cannot_be_run(program: Path) -> None:
    with Up("-n", "1", "--rolling", "1", "--", str(program)) as up:
        up.line(r"\| pid")
        program.unlink()
        old = up.line(r"cannot run .*: no such file or directory; keeping (\S+)", stderr=True)[1]

        assert is_alive(int(up.line(rf"^{old} +\| pid (\d+)$")[1]))
        assert leaders(up, 1)[-1] == old
        assert up.interrupt() == 130


def test_rolling_and_restart_start_no_more_than_were_asked_for() -> None:
    with Up("-n", "1", "--rolling", "0.5", "--restart", "--", *SLEEPER) as up:
        elected = leaders(up, 3)

        assert [line.split()[0] for line in up.lines if "| pid " in line] == elected


def test_rolling_waits_while_there_is_no_replica() -> None:
    script = "echo pid $$; exit 3"
    with Up("-n", "1", "--rolling", "0.1", "--restart", "--", "sh", "-c", script) as up:
        pids(up, 3)
        up.interrupt()

    assert [line for line in up.errors if "failed (exit code 3)" not in line] == []


def test_restart_retries_while_the_program_cannot_be_run(program: Path, tmp_path: Path) -> None:
    with Up("-n", "1", "--restart", "--", str(program)) as up:
        ((pid, first),) = pids(up, 1).items()
        away = program.rename(tmp_path / "away")
        os.kill(pid, signal.SIGKILL)
        up.line("cannot run .*: no such file or directory", stderr=True)
        away.rename(program)

        (second,) = set(pids(up, 2).values()) - {first}
        up.line(rf"{second} leads")
        assert up.interrupt() == 130


def test_rolling_kills_a_replica_that_ignores_sigterm() -> None:
    with Up("-n", "1", "--rolling", "0.2", "--grace", "0.3", "--", "bash", "-c", STUBBORN) as up:
        (first,) = leaders(up, 1)
        up.line(rf"^{first} +\| asked")
        up.line(rf"{first} did not end within", stderr=True)
        assert leaders(up, 2)[1] != first

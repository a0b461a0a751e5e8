"""What the demo shows of verification, and that it ends quietly however it ends."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ..polling import until
from .helpers import PATIENCE

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"

GRACE_PERIOD = 3.0
"""Seconds, as set by the demo."""

MARK = "DEMO_UNDER_TEST"
"""A variable in the environment of whatever the demo starts, to find it again."""


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """Set in the environment of the demo; no process with it may be left at the end."""
    yield str(tmp_path)
    for pid in marked(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def begin(mark: str, stdout: int, no_colour: str = "") -> subprocess.Popen[bytes]:
    """The demo, in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        env={**os.environ, MARK: mark, "TERM": "xterm", "NO_COLOR": no_colour},
        stdout=stdout,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def on_terminal(mark: str, no_colour: str) -> bytes:
    """What the demo shows on a terminal until there is a leader; then Ctrl-C."""
    ours, theirs = pty.openpty()
    with begin(mark, theirs, no_colour) as demo, os.fdopen(ours, "rb") as screen:
        os.close(theirs)
        seen = b""
        while b" | gained leadership" not in seen:
            seen += screen.readline()
        os.killpg(demo.pid, signal.SIGINT)
        with suppress(OSError):  # EIO: all other ends are closed
            while line := screen.readline():
                seen += line
        assert demo.stderr is not None
        assert (demo.wait(PATIENCE), demo.stderr.read()) == (130, b"")
    return seen


@pytest.mark.timeout(90)
def test_two_leaders_without_verification_and_one_with_it(mark: str) -> None:
    with begin(mark, subprocess.PIPE) as demo:
        out, err = demo.communicate(timeout=80)
    text = out.decode()

    assert (demo.returncode, err) == (0, b""), text
    without, with_verification = text.split("The same with --verify")
    assert re.search(r"^(app-\S+) is cut off: two leaders", without, re.MULTILINE)
    stepped_down = re.search(
        r"^(app-\S+) stepped down after (\S+) s: (app-\S+) is the only leader",
        with_verification,
        re.MULTILINE,
    )
    assert stepped_down, text
    assert float(stepped_down[2]) < GRACE_PERIOD + 2, "the rest is for a busy machine"
    until(lambda: not marked(mark), "everything that the demo started to end")


def test_colours_on_a_terminal_have_a_meaning(mark: str) -> None:
    seen = on_terminal(mark, no_colour="")
    assert b"\x1b[36mapp-" in seen
    assert b"\x1b[0m\x1b[0m" not in seen, "a colour of nothing"
    assert b"\x1b[0m" not in seen.split(b" leads")[0].split(b"\n")[-1]


def test_no_colours_where_they_are_not_wanted(mark: str) -> None:
    assert b"\x1b" not in on_terminal(mark, no_colour="1")


def test_it_ends_at_once_and_quietly_when_its_reader_is_gone(mark: str) -> None:
    with begin(mark, subprocess.PIPE) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        for _ in range(6):
            demo.stdout.readline()
        demo.stdout.close()
        assert (demo.wait(PATIENCE / 2), demo.stderr.read()) == (141, b"")
    until(lambda: not marked(mark), "everything that the demo started to end")


def test_ctrl_c_shows_no_tracebacks_of_the_commands_it_runs(mark: str) -> None:
    with begin(mark, subprocess.PIPE) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        while b"$ elector-thread fault" not in (line := demo.stdout.readline()):
            assert line, demo.stderr.read()
        group = until(lambda: group_of_fault(mark), "the command to start")
        assert group != demo.pid, "the terminal interrupts it, whatever it is doing"
        os.killpg(demo.pid, signal.SIGINT)
        demo.stdout.read()
        assert (demo.wait(PATIENCE), demo.stderr.read()) == (130, b"")
    until(lambda: not marked(mark), "everything that the demo started to end")


def group_of_fault(mark: str) -> int | None:
    """The process group of the `elector-thread fault` that the demo runs, if it does."""
    for pid in marked(mark):
        with suppress(OSError):  # ended while we looked
            if b"elector-thread\0fault\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return os.getpgid(pid)
    return None

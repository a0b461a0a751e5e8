"""A child's whole session ends with it."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from elector_thread.local.child import LAUNCHER, Child, describe_exit, exit_status

from ..processes import wait_gone
from .helpers import read_pids

pytestmark = pytest.mark.timeout(20)

ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's help")

FAMILY = """
trap '' TERM
set -m                                # grandchildren in groups of their own
sleep 300 & echo $!
bash -mc 'trap "" TERM; sleep 300 & echo $!; wait' &
echo $!
wait
"""


def spawn(script: str, **settings) -> Child:
    return Child(["bash", "-c", script], stdout=subprocess.PIPE, **settings)


def test_gives_the_exit_code_and_reaps() -> None:
    child = Child(["sh", "-c", "exit 3"])

    assert child.wait(10) == 3
    assert not child.alive
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)


def test_a_signal_is_reported_as_in_shells() -> None:
    code = Child(["sh", "-c", "kill -9 $$"]).wait(10)

    assert code == -9
    assert (describe_exit(code), exit_status(code)) == ("SIGKILL", 137)
    assert (describe_exit(3), exit_status(3)) == ("exit code 3", 3)


def test_elsewhere_it_does_without_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("elector_thread.local.child.sys.platform", "darwin")
        child = Child(["sh", "-c", "kill -9 $$"])

    assert child.wait(10) == -9


def test_calls_back_once_it_is_gone() -> None:
    ended: SimpleQueue[int | None] = SimpleQueue()

    Child(["true"], on_exit=lambda child: ended.put(child.returncode))

    assert ended.get(timeout=10) == 0


@pytest.mark.parametrize(
    ("command", "error"), [("no-such-program", FileNotFoundError), ("/etc", PermissionError)]
)
def test_a_command_that_cannot_be_run_is_the_constructors_error(command, error) -> None:
    with pytest.raises(error):
        Child([command])


def launch(parent: int, *command: str) -> tuple[int, str, str]:
    """The launcher's exit code, its output, and what it says of an exec that failed."""
    read, write = os.pipe()
    arguments = [sys.executable, str(LAUNCHER), str(parent), str(write), *command]
    done = subprocess.run(
        arguments, pass_fds=[write], stdout=subprocess.PIPE, text=True, timeout=15
    )
    os.close(write)
    with os.fdopen(read) as problem:
        return done.returncode, done.stdout, problem.read()


@ONLY_LINUX
def test_the_launcher_becomes_the_command_without_what_python_ignores() -> None:
    code, line, problem = launch(os.getpid(), "grep", "SigIgn", "/proc/self/status")

    ignored = int(line.split()[1], 16)
    assert (code, problem) == (0, "")
    assert [n for n in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> (n - 1) & 1] == [], line


@ONLY_LINUX
def test_the_launcher_reports_a_failed_exec() -> None:
    assert launch(os.getpid(), "/no/such/program") == (127, "", str(errno.ENOENT))


@ONLY_LINUX
def test_the_launcher_starts_nothing_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    sign = tmp_path / "sign of life"

    assert launch(os.getppid(), "touch", str(sign)) == (1, "", "")
    assert not sign.exists()


def test_gets_exactly_the_environment_it_was_given() -> None:
    environ = {"PATH": os.environ["PATH"], "GREETING": "hé", "LC_ALL": "C"}

    child = Child(["env", "-0"], environ=environ, stdout=subprocess.PIPE)

    assert child.stdout is not None
    with child.stdout as pipe:
        pairs = pipe.read().decode().rstrip("\0").split("\0")
    assert dict(pair.split("=", 1) for pair in pairs) == environ
    assert child.wait(10) == 0


@ONLY_LINUX
def test_kill_ends_a_command_that_ignores_sigterm_and_all_descendants() -> None:
    child = spawn(FAMILY, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    with child.stdout as pipe:
        pids = read_pids(pipe, 3)

        child.terminate()
        assert child.wait(0.2) is None
        assert child.kill()
        assert child.wait(10) == -signal.SIGKILL

    wait_gone(child.pid, *pids)


@ONLY_LINUX
def test_what_the_command_leaves_behind_ends_with_it() -> None:
    child = spawn("sleep 300 & echo $!")
    assert child.stdout is not None
    with child.stdout as pipe:
        (pid,) = read_pids(pipe, 1)

    assert child.wait(10) == 0
    wait_gone(pid)


@ONLY_LINUX
def test_a_mark_identifies_descendants_that_have_left_the_session() -> None:
    environ = {**os.environ, "MARK": f"test-{os.getpid()}"}
    script = "setsid sh -c 'echo $$; exec sleep 300' & read line"
    mark = f"MARK={environ['MARK']}"
    child = spawn(script, environ=environ, mark=mark, stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    with child.stdout as pipe, child.stdin:
        (pid,) = read_pids(pipe, 1)
    child.wait(10)

    wait_gone(pid)


def test_a_frozen_child_handles_sigterm() -> None:
    child = Child(["sleep", "300"])
    assert child.send(signal.SIGSTOP)

    child.terminate()
    assert child.wait(10) == -signal.SIGTERM


def test_a_signal_to_a_child_that_is_gone_goes_nowhere() -> None:
    child = Child(["true"])
    child.wait(10)

    assert not child.send(signal.SIGTERM)
    assert not child.kill()


@ONLY_LINUX
def test_dies_with_its_parent(tmp_path: Path) -> None:
    script = "\n".join(
        [
            "import time",
            "from elector_thread.local.child import Child",
            "print(Child(['sleep', '300']).pid, flush=True)",
            "time.sleep(300)",
        ]
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        parent.kill()

    wait_gone(pid)

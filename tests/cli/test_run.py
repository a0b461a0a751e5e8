"""`run`: only while leading, one copy at a time, no process left behind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elector_thread.local import LocalElector

from ..polling import until
from ..processes import executable, is_alive, state_of, wait_gone
from .conftest import OTHER, PATIENCE, US, Running, Terminal, environment

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

Spawn = Callable[..., Running]

WORK = "trap 'echo got TERM; exit 5' TERM; echo up $$; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo up $$; sh -c 'echo kid $$; while :; do sleep 0.05; done'"
"""Ignores SIGTERM, and so does the child that it has."""

STEPPER = [
    sys.executable,
    "-S",
    "-c",
    """
import os, sys, time  # not a shell: while one starts a program, it cannot be stopped alone
print("up", os.getpid(), flush=True)
while True:
    with open(sys.argv[1], "a") as steps:
        steps.write("step ")
    time.sleep(0.05)
""",
]
"""Writes a word into a file for each step that it takes."""


def pid_in(line: str) -> int:
    return int(line.split()[-1])


def test_runs_only_while_leading(local: LocalElector, spawn: Spawn) -> None:
    local.elect(OTHER)
    run = spawn("run", "--", "sh", "-c", WORK)
    run.expect("waiting for leadership as pod-a")
    local.elect(US)
    first = pid_in(run.expect("up "))
    local.elect(OTHER)
    run.expect("got TERM")
    run.expect("; waiting for leadership")
    assert not is_alive(first)
    local.elect(US)
    second = pid_in(run.expect("up ", count=2))
    assert second != first
    run.send(signal.SIGTERM)
    assert run.end() == 5, "the exit code is the command's own"
    assert not is_alive(second)


@pytest.fixture
def sidecar_down() -> dict[str, str]:
    """The variables of an elector that refuses connections."""
    with LocalElector() as elector:
        return elector.environ


def test_it_warns_of_a_leader_that_remains_unknown(
    spawn: Spawn, sidecar_down: dict[str, str]
) -> None:
    run = spawn("run", "-q", "--", "/bin/sh", "-c", "echo began", env=sidecar_down)
    run.expect("warning: sh is not running: the leader is not known (connection refused); waiting")
    run.send(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    run.expect("warning: sh is not running: the leader is not known (connection refused); ended by")
    assert not run._with("began")


def test_it_gives_up_after_the_time_to_wait(spawn: Spawn, sidecar_down: dict[str, str]) -> None:
    run = spawn("run", "-q", "--wait", "0.2", "--", "sh", "-c", "echo began", env=sidecar_down)
    assert run.end() == 75
    run.expect("warning: sh is not running: the leader is not known (")
    run.expect("; gave up after 0.2 s")
    assert not run._with("began")


def test_the_time_to_wait_begins_anew_when_leadership_is_lost(
    local: LocalElector, spawn: Spawn
) -> None:
    local.elect(US)
    run = spawn("run", "--wait", "5", "--", "sh", "-c", WORK)
    run.expect("up ")
    local.elect(OTHER)
    run.expect("got TERM")
    assert run.end() == 75
    run.expect(f"sh is not running: {OTHER} leads; gave up after 5 s")
    assert not run._with("warning")


def test_never_two_copies_even_when_leadership_returns_while_the_old_one_dies(
    local: LocalElector, spawn: Spawn, tmp_path: Path
) -> None:
    script = (
        'for pid in $(cat "$0"/* 2>/dev/null); do kill -0 $pid 2>/dev/null && '
        'grep -qv " Z " /proc/$pid/stat && echo TWICE; done; '
        'echo $$ > "$0/$$"; trap "" TERM; echo up $$; '
        'sh -c \'echo $$ > "$0/$$"; echo kid $$; while :; do sleep 0.05; done\' "$0"'
    )
    local.elect(US)
    run = spawn("run", "--grace", "0.4", "--", "sh", "-c", script, str(tmp_path))
    first, kid = pid_in(run.expect("up ")), pid_in(run.expect("kid "))
    local.elect(OTHER)
    run.expect("sending SIGTERM to sh")
    local.elect(US)
    assert is_alive(first), "it ignores SIGTERM"
    run.expect("SIGKILL")
    second, second_kid = pid_in(run.expect("up ", count=2)), pid_in(run.expect("kid ", count=2))
    assert not is_alive(first)
    assert not is_alive(kid)
    local.elect(OTHER)
    run.expect("; waiting for leadership", count=2)
    wait_gone(second, second_kid)
    assert not run._with("TWICE")
    run.send(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM, "no command, so the signal itself"


def test_ends_the_command_when_contact_is_lost(spawn: Spawn) -> None:
    quick = {"ELECTOR_THREAD_REQUEST_TIMEOUT": "0.3", "ELECTOR_THREAD_GRACE_PERIOD": "1"}
    with LocalElector() as elector:
        elector.elect(US)
        run = spawn("run", "--", "sh", "-c", WORK, env={**elector.environ, **quick})
        pid = pid_in(run.expect("up "))
    run.expect("got TERM")
    run.expect("; waiting for leadership")
    assert not is_alive(pid)


def test_forwards_every_signal(local: LocalElector, spawn: Spawn) -> None:
    names = ["HUP", "USR1", "USR2", "WINCH", "CONT", "ALRM", "TTIN", "INT", "QUIT"]
    traps = " ".join(f"trap 'echo got {name}.' {name};" for name in names)
    local.elect(US)
    run = spawn("run", "--", "sh", "-c", f"{traps} {WORK}")
    run.expect("up ")
    for name in names:
        run.send(getattr(signal, f"SIG{name}"))
        run.expect(f"got {name}.")
    run.send(signal.SIGTERM)
    assert run.end() == 5


def test_with_no_restart_a_failure_ends_it(local: LocalElector, spawn: Spawn) -> None:
    local.elect(US)
    run = spawn("run", "--no-restart", "--", "sh", "-c", "kill -KILL $$")
    assert run.end() == 128 + signal.SIGKILL


def test_a_signal_that_ends_the_command_ends_the_run(local: LocalElector, spawn: Spawn) -> None:
    local.elect(US)
    run = spawn("run", "--", "sh", "-c", "echo up $$; exec sleep 60")
    wait_gone_pid = pid_in(run.expect("up "))
    run.send(signal.SIGUSR1)
    assert run.end() == 128 + signal.SIGUSR1
    assert not is_alive(wait_gone_pid)


def test_restarts_a_command_that_fails_with_a_growing_pause(
    local: LocalElector, spawn: Spawn
) -> None:
    local.elect(US)
    run = spawn("run", "--", "sh", "-c", "exit 4")
    run.expect("sh ended (exit code 4); restarting in 1 s")
    run.expect("sh ended (exit code 4); restarting in 2 s")
    run.send(signal.SIGINT)
    assert run.end() == 128 + signal.SIGINT, "a pause ends with the run"


def test_a_suspended_run_suspends_the_command(local: LocalElector, spawn: Spawn) -> None:
    local.elect(US)
    run = spawn("run", "--", "sh", "-c", "echo up $$; exec sleep 60")
    pid = pid_in(run.expect("up "))
    run.send(signal.SIGTSTP)
    until(lambda: state_of(run.pid) == "T" == state_of(pid))
    run.send(signal.SIGCONT)
    until(lambda: state_of(pid) == "S")
    run.send(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM


def test_suspending_it_while_it_waits_does_no_harm(local: LocalElector, spawn: Spawn) -> None:
    local.elect(OTHER)
    run = spawn("run", "--", "sh", "-c", WORK)
    run.expect("waiting for leadership")
    run.send(signal.SIGTSTP)
    until(lambda: state_of(run.pid) == "T")
    local.elect(US)
    run.send(signal.SIGCONT)
    run.expect("up ")
    run.send(signal.SIGTERM)
    assert run.end() == 5


def test_a_command_suspended_past_the_end_of_leadership_runs_no_further_step(
    local: LocalElector, spawn: Spawn, tmp_path: Path
) -> None:
    quick = {"ELECTOR_THREAD_REQUEST_TIMEOUT": "1", "ELECTOR_THREAD_GRACE_PERIOD": "1.5"}
    steps = tmp_path / "steps"
    local.elect(US)
    run = spawn("run", "--grace", "20", "--", *STEPPER, str(steps), env=quick)
    pid = pid_in(run.expect("up "))
    until(steps.exists)
    run.send(signal.SIGTSTP)
    until(lambda: state_of(run.pid) == "T" == state_of(pid))
    asleep = time.monotonic()
    taken = steps.read_bytes()
    local.elect(OTHER)
    until(lambda: time.monotonic() - asleep > 1.6, "the leadership to run out")
    run.send(signal.SIGCONT)
    run.expect("; waiting for leadership")
    assert steps.read_bytes() == taken
    assert not is_alive(pid)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return executable(tmp_path / "app", "echo up $$; exec sleep 60")


@pytest.mark.parametrize(
    ("harm", "says", "code"),
    [
        (Path.unlink, "No such file or directory", 127),
        (lambda program: program.write_bytes(b"\x00\x01"), "Exec format error", 126),
    ],
    ids=["removed", "overwritten"],
)
def test_a_program_that_disappears_after_the_start_is_reported(
    local: LocalElector,
    spawn: Spawn,
    program: Path,
    harm: Callable[[Path], object],
    says: str,
    code: int,
) -> None:
    local.elect(OTHER)
    run = spawn("run", "--", str(program))
    run.expect("waiting for leadership")
    harm(program)
    local.elect(US)
    run.expect(f"cannot run '{program}': {says}")
    assert run.end() == code


def leave_free(pid: int, count: int) -> None:
    """Let the process open that many more descriptors."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    least = next(n for n in range(1024) if n - len(used & set(range(n))) == count)
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, most))


def test_a_temporary_shortage_is_retried(local: LocalElector, spawn: Spawn, program: Path) -> None:
    local.elect(US)
    run = spawn("run", "--", str(program))
    pid = pid_in(run.expect("up "))
    run.expect("started app")
    leave_free(run.pid, 3)
    os.kill(pid, signal.SIGKILL)
    run.expect("app ended (SIGKILL); restarting in 1 s")
    run.expect("Too many open files; restarting in 2 s")
    leave_free(run.pid, 100)
    run.expect("up ", count=2)
    run.send(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM


def test_it_waits_while_remaining_processes_cannot_be_listed(
    local: LocalElector, spawn: Spawn
) -> None:
    local.elect(US)
    kid = "setsid sh -c 'echo kid $$; exec sleep 60'"
    script = f"{kid} & sleep 60 & echo mate $!; echo up $$; exec sleep 60"
    run = spawn("run", "--no-restart", "--", "sh", "-c", script)
    stray, mate, pid = (pid_in(run.expect(who)) for who in ("kid ", "mate ", "up "))
    run.expect("started sh")
    leave_free(run.pid, 0)
    os.kill(pid, signal.SIGKILL)
    wait_gone(mate)  # of the same group, so it was killed without looking for it
    assert is_alive(stray)
    assert not run._with("ended")
    leave_free(run.pid, 100)
    assert run.end() == 128 + signal.SIGKILL
    wait_gone(stray)


def test_killed_outright_it_leaves_nothing_behind(local: LocalElector, spawn: Spawn) -> None:
    local.elect(US)
    run = spawn("run", "--", "sh", "-c", STUBBORN)
    child, kid = pid_in(run.expect("up ")), pid_in(run.expect("kid "))
    others = children_of(run.pid)
    run.process.kill()
    wait_gone(child, kid, *others)


def test_a_stopped_supervisor_cannot_keep_the_command_alive(
    local: LocalElector, spawn: Spawn
) -> None:
    quick = {"ELECTOR_THREAD_REQUEST_TIMEOUT": "0.3", "ELECTOR_THREAD_GRACE_PERIOD": "0.6"}
    local.elect(US)
    run = spawn("run", "--grace", "0.1", "--", "sh", "-c", STUBBORN, env=quick)
    child, kid = pid_in(run.expect("up ")), pid_in(run.expect("kid "))
    run.send(signal.SIGSTOP)
    local.elect(OTHER)
    wait_gone(kid)
    run.send(signal.SIGCONT)
    run.expect("; waiting for leadership")
    assert not is_alive(child)


def test_reports_that_the_watchdog_was_killed(local: LocalElector, spawn: Spawn) -> None:
    local.elect(OTHER)
    run = spawn("run", "--", "sh", "-c", WORK)
    run.expect("waiting for leadership")
    (watchdog,) = children_of(run.pid)
    os.kill(watchdog, signal.SIGKILL)
    run.expect("watchdog was killed")
    local.elect(US)
    run.expect("up ")
    run.send(signal.SIGTERM)
    assert run.end() == 5


def test_leaves_no_process_when_it_ends(local: LocalElector, spawn: Spawn) -> None:
    local.elect(US)
    run = spawn("run", "--", "sh", "-c", "setsid sleep 60 & echo kid $!; exec sleep 0.2")
    kid, others = pid_in(run.expect("kid ")), children_of(run.pid)
    assert run.end() == 0
    wait_gone(kid, *others)


def test_a_full_pipe_does_not_block_it(local: LocalElector, spawn: Spawn, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    local.elect(US)
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60"
    run = spawn("run", "--", "sh", "-c", script, stdout=write, stderr=write)
    until(pid_file.exists)
    local.elect(OTHER)
    wait_gone(int(pid_file.read_text()))
    run.send(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    os.close(read)
    os.close(write)


def test_closed_standard_streams_do_no_harm(local: LocalElector) -> None:
    local.elect(US)
    env = environment(**local.environ, ELECTOR_THREAD_IDENTITY=US)
    shell = 'exec "$0" -m elector_thread run --no-restart -- sh -c "exit 6" <&- >&- 2>&-'
    command = ["sh", "-c", shell, sys.executable]
    assert subprocess.run(command, env=env, timeout=PATIENCE).returncode == 6


def test_ignored_child_signals_take_no_exit_code_away(local: LocalElector) -> None:
    local.elect(US)
    ignore = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.executable, [sys.executable, '-m', 'elector_thread', *sys.argv[1:]])"
    )
    env = environment(**local.environ, ELECTOR_THREAD_IDENTITY=US)
    command = [sys.executable, "-c", ignore, "run", "--no-restart", "--", "sh", "-c", "exit 6"]
    assert subprocess.run(command, env=env, timeout=PATIENCE, capture_output=True).returncode == 6


def test_the_command_starts_with_the_signals_as_they_were(
    local: LocalElector, spawn: Spawn
) -> None:
    local.elect(US)
    run = spawn("run", "--", "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    assert run.end() == 0
    for line in (run.expect("SigIgn"), run.expect("SigBlk")):
        mask = int(line.split()[1], 16)
        assert [n for n in signal.valid_signals() if mask >> (n - 1) & 1] == [], line


def test_ctrl_c_on_a_terminal_reaches_the_command_once(local: LocalElector) -> None:
    local.elect(US)
    script = "trap 'echo one INT' INT; trap 'exit 8' TERM; echo up; while :; do sleep 0.05; done"
    env = environment(**local.environ, ELECTOR_THREAD_IDENTITY=US)
    with Terminal("run", "--", "sh", "-c", script, env=env) as terminal:
        terminal.expect(b"up\r\n")
        terminal.write(b"\x03")
        terminal.expect(b"one INT")
        terminal.process.terminate()
        assert terminal.end() == 8
    assert terminal.seen.count(b"one INT") == 1


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(probe, capture_output=True, timeout=PATIENCE).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a pid namespace")
def test_as_process_1_it_reaps_orphans(local: LocalElector) -> None:
    """The orphans have sessions of their own, so only process 1 reaps them."""
    local.elect(US)
    script = (
        "for i in 1 2 3; do (setsid perl -e 1 &); done; n=0;"
        "while cat /proc/[0-9]*/stat 2>/dev/null | grep -q '(perl)' && [ $n -lt 100 ];"
        "do n=$((n+1)); sleep 0.05; done; [ $n -lt 100 ] && exit 9"
    )
    command = [sys.executable, "-m", "elector_thread", "run", "-q", "--no-restart", "--"]
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", *command, "sh", "-c", script],
        env=environment(**local.environ, ELECTOR_THREAD_IDENTITY=US),
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 9, done


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]

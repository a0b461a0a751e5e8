"""``scope="process"``: exactly one process of the pod, and another soon after its death."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from elector_thread import SKIPPED, ConfigurationError, Elector, State
from elector_thread._runtime import forks, podlock
from elector_thread._runtime.podlock import default_path, open_lock
from elector_thread.settings import resolve

from .conftest import FAST, MakeElector
from .polling import until
from .scripted import PATIENCE, ScriptedServer

CHILD = """
import sys
from elector_thread import Elector
def report(text): sys.stdout.write(text + chr(10)); sys.stdout.flush()  # in one write
get_url, sse_url, lock_path = sys.argv[1:]
elector = Elector(get_url=get_url, sse_url=sse_url, identity="pod-a", scope="process",
                  lock_path=lock_path, reconcile_interval=1, poll_interval=1)
elector.on_elected(lambda: report("elected"))
elector.on_demoted(lambda: report("demoted"))
elector.start()
elector.wait_until_known(10)
report("known")
sys.stdin.read()
elector.stop()
"""


class Worker:
    """Another process of the same pod; ended with its `with` block at the latest."""

    def __init__(self, server: ScriptedServer, lock: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, server.get_url, server.sse_url, str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )

    def next_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "pod.lock"


@pytest.fixture
def worker(server: ScriptedServer, lock: Path) -> Iterator[Worker]:
    server.leader = "pod-a"
    with Worker(server, lock) as other:
        assert {other.next_line(), other.next_line()} == {"elected", "known"}
        yield other


def test_one_process_leads_and_when_it_is_killed_another_does(
    worker: Worker,
    server: ScriptedServer,
    make_elector: MakeElector,
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(podlock, "RETRY", 0.05)
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_known(PATIENCE)
    status = elector.status()
    assert (status.state, status.leader, status.holds_lock) == (State.FOLLOWER, "pod-a", False)
    assert not elector.wait_until_leader(0.3), "another process holds the lock"
    worker.kill()
    assert elector.wait_until_leader(PATIENCE)
    assert elector.status().holds_lock is True


def test_a_stopped_elector_leaves_the_lock_to_the_next(
    worker: Worker, make_elector: MakeElector, lock: Path
) -> None:
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_known(PATIENCE)
    assert not elector.is_leader
    worker.end()
    assert elector.wait_until_leader(PATIENCE)


def test_the_lock_is_kept_until_callbacks_have_ended(
    server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock)
    entered, release = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        release.wait(PATIENCE)

    elector.on_demoted(slow)
    announced = threading.Event()
    elector.on_elected(announced.set)
    elector.start()
    assert announced.wait(PATIENCE)
    assert not elector.stop(timeout=0.1)
    assert entered.wait(PATIENCE)
    with Worker(server, lock) as other:
        assert other.next_line() == "known"
        release.set()
        assert other.next_line() == "elected"


def test_the_lock_alone_makes_no_leader(
    server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    server.leader = "pod-b"
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_known(PATIENCE)
    assert elector.state is State.FOLLOWER
    assert elector.status().holds_lock is False
    server.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)
    server.elect("pod-b")
    until(lambda: elector.leader == "pod-b")
    assert (elector.is_leader, elector.status().holds_lock) == (False, True)


def test_restarted_it_takes_the_lock_again(
    server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock)
    for _ in range(3):
        elector.start()
        assert elector.wait_until_leader(PATIENCE)
        elector.stop()
        assert elector.status().holds_lock is False


def test_two_electors_of_one_process_share_its_lock(
    server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    server.leader = "pod-a"
    first = make_elector(scope="process", lock_path=lock).start()
    second = make_elector(scope="process", lock_path=lock).start()
    assert first.wait_until_leader(PATIENCE)
    assert second.wait_until_leader(PATIENCE)
    assert first.stop()
    with Worker(server, lock) as other:
        assert other.next_line() == "known"
        assert second.is_leader, "the lock survives the first one's stop"
        assert second.stop()
        assert other.next_line() == "elected"


def test_two_names_of_one_file_are_one_lock(
    server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    """Closing any descriptor of the file would drop the lock for both."""
    server.leader = "pod-a"
    (lock.parent / "sub").mkdir()
    (lock.parent / "link").symlink_to(lock.parent)
    by_name = make_elector(scope="process", lock_path=lock).start()
    assert by_name.wait_until_leader(PATIENCE)
    for other_name in (f"sub/../{lock.name}", f"link/{lock.name}"):
        other = make_elector(scope="process", lock_path=lock.parent / other_name).start()
        assert other.wait_until_leader(PATIENCE)
        assert other.stop()
        assert is_locked_for_others(lock)


def test_a_lock_that_was_dropped_by_this_process_itself_is_taken_again(
    server: ScriptedServer, make_elector: MakeElector, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing any descriptor of the file drops a POSIX lock."""
    monkeypatch.setattr("elector_thread._runtime.podlock.RECHECK", 0.05)
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_leader(PATIENCE)
    lock.read_bytes()
    until(lambda: is_locked_for_others(lock))
    assert elector.is_leader


def is_locked_for_others(lock: Path) -> bool:
    take = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    other = subprocess.run([sys.executable, "-c", take, lock], stderr=subprocess.DEVNULL)
    return other.returncode != 0


def test_after_a_removal_of_the_lock_file_one_process_leads(
    worker: Worker, server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    """Later processes lock the new file; the holder notices, and takes that one or steps down."""
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_known(PATIENCE)
    lock.unlink()
    worker.kill()
    assert elector.wait_until_leader(PATIENCE)
    assert lock.exists(), "expected the lock at its usual path"


def test_a_lock_file_that_is_removed_just_before_it_is_locked_does_not_count(
    server: ScriptedServer, make_elector: MakeElector, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes would not find it, and lock a new one."""
    server.leader = "pod-a"
    try_lock = podlock._try_lock
    removed: list[Path] = []

    def remove_first(descriptor: int) -> bool:
        if not removed:
            removed.append(lock)
            lock.unlink()
        return try_lock(descriptor)

    monkeypatch.setattr(podlock, "_try_lock", remove_first)
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_leader(PATIENCE)
    assert lock.exists()
    assert is_locked_for_others(lock)


def test_a_lock_file_that_was_removed_is_replaced_at_the_next_look(lock: Path) -> None:
    settings = resolve(get_url="http://localhost/", scope="process", lock_path=lock)
    claim = open_lock(settings)
    assert claim.take()
    lock.unlink()
    assert claim.recheck()
    assert is_locked_for_others(lock)
    claim.release()
    assert not is_locked_for_others(lock)


def test_a_released_claim_takes_nothing(lock: Path) -> None:
    settings = resolve(get_url="http://localhost/", scope="process", lock_path=lock)
    claim, other = open_lock(settings), open_lock(settings)
    for _ in range(2):
        claim.release()
    assert not claim.take()
    assert other.take(), "the other claim still has the file open"
    other.release()


@pytest.mark.parametrize("name", ["elector-dispatch", "elector-lock"])
def test_a_start_that_fails_leaves_the_lock_to_others(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    lock: Path,
    name: str,
) -> None:
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock)
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="new thread"):
            elector.start()
    assert not is_locked_for_others(lock)
    with Worker(server, lock) as other:
        assert {other.next_line(), other.next_line()} == {"known", "elected"}
        assert elector.start().wait_until_known(PATIENCE)
        assert not elector.wait_until_leader(0.2)


@pytest.mark.parametrize("where", ["missing/pod.lock", "", "file/pod.lock"])
def test_an_unusable_place_is_a_configuration_error_at_start(
    make_elector: MakeElector, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("")
    elector = make_elector(scope="process", lock_path=tmp_path / where)
    with pytest.raises(ConfigurationError, match="lock_path"):
        elector.start()
    assert not elector.status().running
    with pytest.raises(ConfigurationError, match="lock_path"):
        elector.wait_until_leader(0)  # which starts an elector that was never started


def test_a_worker_that_cannot_start_logs_it_once_and_tries_again(
    server: ScriptedServer,
    make_elector: MakeElector,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.leader = "pod-a"
    folder = tmp_path / "folder"
    forks.hold_back()
    elector = make_elector(scope="process", lock_path=folder / "pod.lock").start()
    forks.let_go()  # as in a worker
    assert [elector.state for _ in range(3)] == [State.UNKNOWN] * 3
    assert elector.only_on_leader(lambda: "ran")() is SKIPPED
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "cannot start after a fork, so this process cannot lead: lock_path" in logged.message
    folder.mkdir()
    assert elector.wait_until_leader(PATIENCE)


def test_a_symbolic_link_is_not_followed(make_elector: MakeElector, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(ConfigurationError, match="lock_path"):
        make_elector(scope="process", lock_path=tmp_path / "link").start()
    assert not (tmp_path / "target").exists()


def test_the_default_place_is_private_to_the_user_and_the_pod(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert default_path("pod-a") != default_path("pod-b")
    server.leader = "pod-a"
    with Elector(get_url=server.get_url, identity="pod-a", scope="process", **FAST) as elector:
        assert elector.wait_until_leader(PATIENCE)
        path = default_path("pod-a")
        assert path.parent == tmp_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_fork_neither_shares_nor_drops_the_lock(
    server: ScriptedServer, make_elector: MakeElector, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podlock, "RETRY", 0.05)
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock).start()
    assert elector.wait_until_leader(PATIENCE)
    child = os.fork()
    if child == 0:  # reads, starts, does not get the lock
        try:
            elector.wait_until_known(PATIENCE)
            got_it = elector.wait_until_leader(0.3)
            elector.stop()
            os._exit(3 if got_it else 0)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with Worker(server, lock) as other:
        assert other.next_line() == "known"
        assert elector.is_leader
        elector.stop()
        assert other.next_line() == "elected"


@pytest.mark.parametrize("timeout", [PATIENCE * 3, None])
@pytest.mark.parametrize("where", ["on_elected", "while_leader"])
def test_a_stop_by_user_code_does_not_wait_for_itself_and_leaves_the_lock_to_others(
    server: ScriptedServer,
    make_elector: MakeElector,
    lock: Path,
    where: str,
    timeout: float | None,
) -> None:
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock)
    stopped, go_on = threading.Event(), threading.Event()

    def stop(_: object) -> None:
        assert elector.stop(timeout)
        stopped.set()
        go_on.wait(PATIENCE)

    getattr(elector, where)(stop)
    elector.start()
    assert stopped.wait(PATIENCE), "the stop waits for its own caller"
    assert is_locked_for_others(lock), "user code is still running"
    with Worker(server, lock) as other:
        assert other.next_line() == "known"
        go_on.set()
        assert other.next_line() == "elected"


def test_a_restart_by_a_callback_leaves_the_lock_to_others_at_the_next_stop(
    server: ScriptedServer, make_elector: MakeElector, lock: Path
) -> None:
    """The thread that kept the lock for the first run ends with that run."""
    server.leader = "pod-a"
    elector = make_elector(scope="process", lock_path=lock)
    restarted = threading.Event()

    def restart() -> None:
        if not restarted.is_set():
            elector.stop(0)
            elector.start()
            restarted.set()

    elector.on_elected(restart)
    elector.start()
    assert restarted.wait(PATIENCE)
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: threads_named("elector-lock") == 1, "the first thread to end")
    assert elector.stop()
    assert not is_locked_for_others(lock)


def threads_named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())

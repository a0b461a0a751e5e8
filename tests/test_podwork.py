"""Several processes of one pod that run leader-only work: noticed, logged once, and reported."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from elector_thread import Elector
from elector_thread._runtime import access, podwork
from elector_thread._runtime.podwork import count_working
from elector_thread.integrations._text import describe
from elector_thread.settings import Settings, resolve

from .conftest import MakeElector
from .forks.children import Child, in_child
from .polling import until
from .scripted import PATIENCE, ScriptedServer

CHILD = """
import logging, sys
from elector_thread import Elector
logging.basicConfig(level="WARNING", stream=sys.stdout, format="%(levelname)s %(elector_event)s")
def report(): print("shares", elector.status().shares_work, flush=True)
get_url, scope, lock_path, kind = sys.argv[1:]
elector = Elector(get_url=get_url, identity="pod-a", scope=scope, lock_path=lock_path)
if kind == "guard":
    elector.only_on_leader(print)
else:
    getattr(elector, kind)(lambda _: None)
elector.on_leader_change(report)  # called after the process was marked
elector.start()
sys.stdin.read()
elector.stop()
"""

FIRST = ["shares False"]
SECOND = ["WARNING work_shared", "shares True"]


class Worker:
    """Another process of the same pod; `lines` is what it prints until it knows the leader."""

    def __init__(self, server: ScriptedServer, kind: str, scope: str, lock: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, server.get_url, scope, str(lock), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith("shares"):
                return

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=PATIENCE)


MakeWorker = Callable[..., Worker]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this pod."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def worker(server: ScriptedServer, tmp_path: Path) -> Iterator[MakeWorker]:
    server.leader = "pod-a"
    with ExitStack() as stack:

        def make(kind: str = "on_elected", scope: str = "pod") -> Worker:
            return stack.enter_context(Worker(server, kind, scope, tmp_path / "pod.lock"))

        yield make


@pytest.fixture
def pod(server: ScriptedServer) -> Settings:
    """What another process of the pod reads from its environment."""
    return resolve(get_url=server.get_url, identity="pod-a")


@pytest.fixture
def marked(server: ScriptedServer, make_elector: MakeElector, pod: Settings) -> Elector:
    """A running elector of this process with leader-only work."""
    server.leader = "pod-a"
    elector = make_elector()
    elector.on_elected(lambda: None)
    elector.start()
    until(lambda: count_working(pod) == 1, "the process to be marked")
    return elector


@pytest.mark.parametrize("leader", ["pod-a", "pod-b"], ids=["leader", "follower"])
def test_the_second_process_warns_once_and_the_first_does_not(
    worker: MakeWorker, server: ScriptedServer, pod: Settings, leader: str
) -> None:
    server.leader = leader
    assert worker().lines == FIRST
    assert worker().lines == SECOND
    assert count_working(pod) == 2


@pytest.mark.parametrize("kind", ["on_elected", "on_demoted", "while_leader"])
def test_callbacks_and_leader_tasks_are_work(worker: MakeWorker, kind: str) -> None:
    assert worker("on_elected").lines == FIRST
    assert worker(kind).lines == SECOND


@pytest.mark.parametrize(
    ("kind", "scope"),
    [("guard", "pod"), ("on_leader_change", "pod"), ("on_elected", "process")],
)
def test_guards_reads_and_one_leader_per_pod_are_no_problem(
    worker: MakeWorker, pod: Settings, kind: str, scope: str
) -> None:
    assert worker(kind, scope).lines == FIRST
    assert worker(kind, scope).lines == FIRST
    assert worker().lines == FIRST
    assert count_working(pod) == 1


def test_a_third_process_warns_too_when_the_first_has_ended(
    worker: MakeWorker, pod: Settings
) -> None:
    first, _ = worker(), worker()
    first.end()
    assert worker().lines == SECOND
    assert count_working(pod) == 2


def test_of_processes_that_start_at_the_same_moment_all_but_one_warn(
    server: ScriptedServer, tmp_path: Path, pod: Settings
) -> None:
    server.leader = "pod-a"
    arguments = (server, "on_elected", "pod", tmp_path / "pod.lock")
    with ExitStack() as stack, ThreadPoolExecutor(4) as starters:
        made = [starters.submit(Worker, *arguments) for _ in range(4)]
        workers = [stack.enter_context(each.result()) for each in made]
        assert sorted(each.lines for each in workers) == [SECOND, SECOND, SECOND, FIRST]
        assert count_working(pod) == 4


def test_a_process_that_is_paused_while_it_takes_its_place_does_not_hold_up_the_others(
    worker: MakeWorker, pod: Settings, tmp_path: Path
) -> None:
    with podwork._path(pod).open("wb") as file:
        code = "import fcntl; fcntl.lockf(0, fcntl.LOCK_EX, 1, int(sys.argv[1])); print(flush=True)"
        holder = subprocess.Popen(
            [sys.executable, "-c", f"import sys, time; {code}; time.sleep(600)", str(podwork.TURN)],
            stdin=file,
            stdout=subprocess.PIPE,
        )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert worker().lines == FIRST
        assert worker().lines == SECOND
        assert count_working(pod) == 2
    finally:
        holder.kill()
        holder.communicate(timeout=PATIENCE)


def test_a_process_after_the_others_have_ended_is_the_first(worker: MakeWorker) -> None:
    worker().end()
    assert worker().lines == FIRST


def test_the_status_says_so(marked: Elector, worker: MakeWorker, make_elector: MakeElector) -> None:
    assert not marked.status().shares_work
    assert "work:" not in describe(marked.status())
    marked.stop()
    assert worker().lines == FIRST
    marked.start()
    until(lambda: marked.status().shares_work)
    assert marked.status().as_dict()["shares_work"] is True
    assert "work:     another process of this pod runs leader-only work" in describe(
        marked.status()
    )
    marked.stop()
    assert not marked.status().shares_work


def test_a_stop_gives_the_place_up(marked: Elector, worker: MakeWorker, pod: Settings) -> None:
    assert marked.stop()
    assert count_working(pod) == 0
    assert worker().lines == FIRST


def test_work_that_is_registered_later_counts(
    make_elector: MakeElector, worker: MakeWorker, pod: Settings
) -> None:
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    assert count_working(pod) == 0
    elector.while_leader(lambda leadership: leadership.wait())
    until(lambda: count_working(pod) == 1)
    assert worker().lines == SECOND


def test_an_elector_that_only_answers_is_not_marked(
    make_elector: MakeElector, server: ScriptedServer, pod: Settings
) -> None:
    server.leader = "pod-a"
    elector = make_elector()
    access.only_answer(elector)
    elector.on_elected(lambda: None)
    assert elector.wait_until_leader(PATIENCE)
    server.wait_gets(1)
    assert count_working(pod) == 0


def test_two_electors_of_one_process_are_one_process(
    marked: Elector, make_elector: MakeElector, worker: MakeWorker, pod: Settings
) -> None:
    elected = []
    other = make_elector()
    other.on_elected(elected.append)
    other.start()
    until(lambda: elected)
    assert not other.status().shares_work
    assert count_working(pod) == 1
    marked.stop()
    assert worker().lines == SECOND, "the other one still has work"
    other.stop()
    assert count_working(pod) == 1


def test_counting_does_not_drop_the_own_mark(
    marked: Elector, worker: MakeWorker, pod: Settings
) -> None:
    assert [count_working(pod) for _ in range(3)] == [1, 1, 1]
    assert worker().lines == SECOND
    assert count_working(pod) == 2


def test_another_pod_on_the_same_machine_is_not_counted(
    marked: Elector, worker: MakeWorker
) -> None:
    assert count_working(resolve(get_url="http://127.0.0.1:1/", identity="pod-a")) == 0
    assert count_working(resolve(when_unconfigured="lead", identity="pod-a")) == 0


# --- forks -----------------------------------------------------------------------------


def test_a_forked_child_is_a_process_of_its_own(
    marked: Elector, worker: MakeWorker, pod: Settings
) -> None:
    def work() -> tuple[int, bool]:
        marked.post_fork()
        until(lambda: marked.status().shares_work)
        before = count_working(pod)
        return before, marked.stop()

    assert in_child(work) == (2, True)
    assert count_working(pod) == 1
    assert worker().lines == SECOND, "the child has not dropped its parent's mark"


def test_a_child_that_never_asks_is_not_marked(marked: Elector, pod: Settings) -> None:
    assert Child(lambda: count_working(pod)).result() == 1


# --- where nothing can be noticed ---------------------------------------------------------


@pytest.mark.parametrize("folder", ["missing", "file", "/proc"])
def test_without_a_writable_folder_nothing_is_said(
    worker: MakeWorker,
    pod: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path / folder))
    assert worker().lines == FIRST
    assert worker().lines == FIRST
    assert count_working(pod) == 0


def test_a_symbolic_link_is_not_followed(worker: MakeWorker, pod: Settings, tmp_path: Path) -> None:
    podwork._path(pod).symlink_to(tmp_path / "target")
    assert worker().lines == FIRST
    assert count_working(pod) == 0
    assert not (tmp_path / "target").exists()


def test_a_file_system_without_locks_is_no_error(
    make_elector: MakeElector,
    server: ScriptedServer,
    pod: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(podwork.fcntl, "lockf", refuse)
    server.leader = "pod-a"
    elected = []
    elector = make_elector()
    elector.on_elected(elected.append)
    elector.start()
    until(lambda: elected)
    assert not elector.status().shares_work
    assert count_working(pod) == 0
    assert elector.stop()
    assert not [record for record in caplog.records if record.levelname != "INFO"]


# --- doctor ----------------------------------------------------------------------------


def doctor(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
    command = [sys.executable, "-m", "elector_thread", "doctor", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    findings = json.loads(ended.stdout)["findings"]
    return [(each["level"], each["message"]) for each in findings if each["check"] == "workers"]


def test_doctor_finds_processes_that_share_their_work(
    worker: MakeWorker, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker()
    assert doctor(server, monkeypatch) == []
    worker()
    [(level, message)] = doctor(server, monkeypatch)
    assert level == "problem"
    assert message.startswith("2 processes of this pod have callbacks or while_leader functions")

"""`status`, `is-leader` and `watch`; invalid arguments; the install without the extra."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import elector_thread
from elector_thread import State
from elector_thread._state.model import Verification
from elector_thread.cli import main, parser
from elector_thread.cli.status import why_not_leader
from elector_thread.integrations._text import fields
from elector_thread.local import LocalElector
from elector_thread.testing import FakeElector

from ..lease_api import LeaseApi
from ..lease_api import status as code
from ..scripted import ScriptedServer
from .conftest import OTHER, PATIENCE, US, Running, Terminal, environment, of_the_pod

Spawn = Callable[..., Running]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "command-line.md"


# --- status and is-leader ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leader", "code", "message"),
    [(US, 0, ""), (OTHER, 1, ""), (None, 2, "the elector has no election result yet")],
)
def test_is_leader_answers_by_exit_code_with_exactly_one_get(
    beside: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    leader: str | None,
    code: int,
    message: str,
) -> None:
    beside.leader = leader
    assert main(["is-leader"]) == code
    assert [head.splitlines()[0] for head in beside.heads] == ["GET / HTTP/1.1"]
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == (1 if message else 0)


def test_is_leader_gives_the_reason_for_unknown(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.close()
    assert main(["is-leader", "-v"]) == 2
    out, err = capsys.readouterr()
    assert out == "unknown\n"
    assert "connection refused" in err
    assert err.count("\n") == 1


def test_is_leader_asks_about_the_pod_whatever_the_scope(
    beside: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_SCOPE", "process")
    beside.leader = US
    assert main(["is-leader"]) == 0


def test_status_as_text_and_as_json(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.leader = OTHER
    assert main(["status"]) == 0
    assert capsys.readouterr().out.split() == [
        *("state:", "follower"),
        *("leader:", OTHER),
        *("identity:", US),
    ]
    assert main(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["leader"], found["identity"]) == ("follower", OTHER, US)


def test_status_marks_this_pod(beside: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    beside.leader = US
    assert main(["status"]) == 0
    assert f"{US} (this pod)\n" in capsys.readouterr().out


def test_status_is_complete_without_an_answer(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.close()
    assert main(["status", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["last_error"] == "connection refused"
    assert "connection refused" in err


VERIFIED = {
    "this pod": (US, lambda api: api.elect(US), "leader", "names this pod, read 0 s ago"),
    "another pod": (
        US,
        lambda api: api.elect(OTHER),
        "follower",
        f"the Lease names {OTHER}, but the sidecar names this pod ({US})",
    ),
    "not asked": (OTHER, lambda api: api.elect(OTHER), "follower", "not read: only the pod"),
    "forbidden": (
        US,
        lambda api: setattr(api, "on_lease", lambda connection: connection.send(code(403))),
        "unknown",
        "the API server forbids reading the Lease (HTTP 403)",
    ),
}


@pytest.mark.parametrize(("named", "prepare", "state", "says"), VERIFIED.values(), ids=VERIFIED)
def test_status_shows_what_verification_found(
    beside: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    prepare: Callable[[LeaseApi], object],
    state: str,
    says: str,
) -> None:
    api = LeaseApi(beside)
    for name, value in api.environ.items():
        monkeypatch.setenv(name, value)
    beside.leader = named
    prepare(api)
    assert main(["status"]) == 0
    out, err = capsys.readouterr()
    rows = dict(line.split(":", 1) for line in out.splitlines())
    assert rows["state"].strip() == state
    assert rows["lease"].strip().startswith(says)
    assert "problem" not in rows, "one cause, one line"
    assert ("not verified: the API server forbids" in err) is (state == "unknown")
    main(["status", "--json"])
    found = json.loads(capsys.readouterr().out)["verification"]
    assert found["ours"] is (state == "leader")
    assert main(["is-leader"]) == {"leader": 0, "follower": 1, "unknown": 2}[state]


def test_status_is_silent_about_verification_that_is_not_wanted(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.leader = US
    main(["status"])
    assert "lease" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verification", "says"),
    [
        (Verification(US, True, 12.3, "HTTP 503"), "names this pod, read 12 s ago; HTTP 503"),
        (Verification(OTHER, False, 3.0, None), f"names {OTHER}, read 3 s ago"),
        (Verification(None, False, 3.0, None), "names no pod, read 3 s ago"),
        (Verification(None, False, None, "no token"), "no token"),
    ],
)
def test_a_verification_in_one_line(verification: Verification, says: str) -> None:
    status = FakeElector().status()._replace(verification=verification, last_error="HTTP 503")
    assert fields(status)["lease"] == says
    assert ("problem" in fields(status)) is (verification.problem != "HTTP 503")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": State.UNKNOWN, "last_error": "HTTP 503"}, "the leader is not known (HTTP 503)"),
        ({"state": State.UNKNOWN}, "the leader is not known (the elector has no election result"),
        ({"state": State.FOLLOWER, "leader": OTHER}, f"{OTHER} leads"),
        ({"state": State.FOLLOWER, "leader": US}, "another process of this pod leads"),
        ({"state": State.FOLLOWER, "leader": None}, "this pod is a follower"),
    ],
)
def test_why_this_process_is_not_the_leader(changes: dict[str, Any], says: str) -> None:
    status = FakeElector(identity=US).status()._replace(**{"last_error": None, **changes})
    assert why_not_leader(status).startswith(says)


# --- watch ---------------------------------------------------------------------------------


def test_watch_prints_a_line_for_each_change_and_ends_with_ctrl_c(
    local: LocalElector, spawn: Spawn
) -> None:
    local.elect(OTHER)
    watch = spawn("watch", "--json")
    assert json.loads(watch.expect('"follower"'))["leader"] == OTHER
    local.elect(US)
    assert json.loads(watch.expect('"leader": "pod-a"'))["state"] == "leader"
    watch.send(signal.SIGINT)
    assert watch.end() == 130
    assert not watch._with("Traceback")


def test_watch_ends_quietly_when_its_reader_is_gone(local: LocalElector, spawn: Spawn) -> None:
    local.elect(OTHER)
    watch = spawn("watch", stderr=subprocess.PIPE)
    watch.expect("follower")
    watch.close_output()
    assert watch.process.stderr is not None
    assert watch.process.wait(PATIENCE) == 141
    assert watch.process.stderr.read() == b""
    watch.process.stderr.close()


@pytest.mark.parametrize("no_colour", [False, True])
def test_watch_draws_a_table_on_a_terminal(local: LocalElector, no_colour: bool) -> None:
    local.elect(US)
    plain = {"NO_COLOR": "1"} if no_colour else {}
    given = {**local.environ, "ELECTOR_THREAD_IDENTITY": US, "TERM": "xterm", **plain}
    with Terminal("watch", env=environment(**given)) as terminal:
        terminal.expect(b"LEADER")
        terminal.write(b"\x03")
        assert terminal.end() == 130
    assert (b"\x1b[1;32m" in terminal.seen) is not no_colour
    assert b"\x1b[?25h" in terminal.seen, "the cursor is back"
    assert b"Traceback" not in terminal.seen


# --- invalid arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "unknown command 'nosuch'; expected one of status, is-leader"),
        (["statsu"], "unknown command 'statsu'; did you mean 'status'?"),
        (["--nosuch"], "unrecognized arguments: --nosuch"),
        (["status", "--nosuch"], "unrecognized arguments: --nosuch"),
        (["status", "more"], "unrecognized arguments: more"),
        (["status", "--", "more"], "expected nothing after '--'"),
        (["run"], "expected a command after '--'"),
        (["run", "--"], "expected a command after '--'"),
        (
            ["run", "--nosuch", "--", "true"],
            "unrecognized arguments: --nosuch; see elector-thread run",
        ),
        (
            ["run", "--grace", "soon", "--", "true"],
            "expected a number from 0 to 1000000, got 'soon'",
        ),
        (["run", "--grace", "-1", "--", "true"], "expected a number from 0 to 1000000, got '-1'"),
        (["run", "--grace", "nan", "--", "true"], "expected a number from 0 to 1000000, got 'nan'"),
        (["up", "--nosuch"], "--nosuch"),
        (["run", "--wiat", "5", "--", "true"], "arguments: --wiat; did you mean '--wait'?"),
        (["run", "--grcae=5", "--", "true"], "arguments: --grcae=5; did you mean '--grace'?"),
        (["status", "--jsno"], "unrecognized arguments: --jsno; did you mean '--json'?"),
        (["up", "--replica", "2"], "arguments: --replica; did you mean '--replicas'?"),
        (["--vresion"], "unrecognized arguments: --vresion; did you mean '--version'?"),
    ],
)
def test_bad_usage_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("elector-thread")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["status"], ["is-leader"], ["watch"], ["run", "--", "true"]])
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ELECTOR_GET_URL", "", "set ELECTOR_THREAD_WHEN_UNCONFIGURED=lead"),
        ("ELECTOR_GET_URL", "localhost", "it does not begin with http:// or https://"),
        ("ELECTOR_THREAD_GRACE_PERIOD", "soon", "expected a number of seconds, got 'soon'"),
    ],
)
def test_a_bad_setting_has_an_exit_code_of_its_own(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    name: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert main(arguments) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"elector-thread {arguments[0]}: ")
    assert name in err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "is-leader", "watch", "run"])
def test_the_help_documents_the_exit_code_of_bad_settings(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    main([command, "--help"])
    assert "78 a setting is missing or wrong" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", parser.COMMANDS)
def test_the_help_of_a_command_names_it(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: elector-thread {command} [")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("celery -A app beat", "-- celery -A app beat"),
        ("--grace 3 -q celery -q --grace 4", "--grace 3 -q -- celery -q --grace 4"),
        ("--grace 3 3", "--grace 3 -- 3"),
        ("sh -c 'exec beat'", "-- sh -c 'exec beat'"),
        ("kubectl exec pod -- ls", "-- kubectl exec pod -- ls"),
    ],
)
def test_run_shows_where_the_dashes_are_missing(
    capsys: pytest.CaptureFixture[str], arguments: str, meant: str
) -> None:
    assert main(["run", *shlex.split(arguments)]) == 2
    assert capsys.readouterr() == (
        "",
        f"elector-thread run: put '--' before the command: elector-thread run {meant}\n",
    )


def test_an_error_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--bogus"]) == 2
    assert capsys.readouterr().err == (
        "elector-thread status: unrecognized arguments: --bogus; see elector-thread status --help\n"
    )
    assert main(["--bogus"]) == 2
    assert capsys.readouterr().err == (
        "elector-thread: unrecognized arguments: --bogus; see elector-thread --help\n"
    )


def test_the_page_shows_the_error_for_a_bad_value(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--grace", "soon", "--", "celery", "-A", "app", "beat"])
    assert f"echo $?\n{capsys.readouterr().err}2\n" in PAGE.read_text()


def test_the_page_unsets_all_that_the_platform_sets(
    local: LocalElector, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = re.search(
        r"^\$ env (.*) elector-thread is-leader; echo \$\?\n(.*\n)78$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert shown is not None
    for name, value in local.environ.items():
        monkeypatch.setenv(name, value)
    for name in shown[1].replace("-u", "").split():
        monkeypatch.delenv(name)
    assert main(["is-leader"]) == 78
    assert capsys.readouterr() == ("", shown[2])


@pytest.mark.parametrize(
    ("program", "code"),
    [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126), ("", 127)],
)
def test_a_program_that_cannot_run_is_reported_at_once(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str], program: str, code: int
) -> None:
    assert main(["run", "--", program]) == code
    assert capsys.readouterr().err.startswith(f"elector-thread run: cannot run {program!r}")
    assert beside.connections == 0


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "is-leader" in capsys.readouterr().err


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = re.findall(r"^    ([a-z-]+) {2,}\S", capsys.readouterr().out, re.MULTILINE)
    assert listed == list(parser.COMMANDS)


def test_the_page_shows_the_help_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["--help"])
    assert f"$ elector-thread --help\n{capsys.readouterr().out}```" in PAGE.read_text()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"elector-thread {elector_thread.__version__}\n"


def run_closed(redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a shell starts it with standard streams closed."""
    shell = ["sh", "-c", f'exec "$0" -m elector_thread "$@" {redirections}', sys.executable]
    return subprocess.run(
        [*shell, *arguments],
        env=environment(**of_the_pod()),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_an_error_with_a_closed_stderr_does_not_go_to_stdout(beside: ScriptedServer) -> None:
    beside.leader = None
    done = run_closed("2>&-", "is-leader", "-v")
    assert (done.returncode, done.stdout) == (2, "unknown\n")


def test_a_closed_stdout_does_not_matter_to_a_silent_command(beside: ScriptedServer) -> None:
    beside.leader = US
    done = run_closed(">&-", "is-leader")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "--json"], ["watch"], ["doctor"], ["fault", "--list"]]
)
def test_a_closed_stdout_is_an_output_error(beside: ScriptedServer, arguments: list[str]) -> None:
    beside.leader = US
    done = run_closed(">&-", *arguments)
    expected = f"elector-thread {arguments[0]}: cannot write the output: it is closed\n"
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["status", "--help"], ["up", "--help"]]
)
def test_help_on_a_full_disk_is_an_output_error(
    beside: ScriptedServer, arguments: list[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = run_closed("> /dev/full", *arguments)
    assert done.returncode == 2
    assert "cannot write the output" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["fault", "--list"], ["up", "--help"], ["status", "--help"]])
def test_a_reader_that_is_gone_ends_a_command_quietly(
    beside: ScriptedServer, arguments: list[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "elector_thread", *arguments],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", ["status", "is-leader"])
def test_a_missing_answer_gives_one_line_and_no_log(beside: ScriptedServer, command: str) -> None:
    beside.close()
    done = run_closed("", command)
    assert done.returncode == 2
    assert done.stderr == (
        f"elector-thread {command}: no answer from {beside.get_url}: connection refused\n"
    )


def test_output_on_a_full_disk_is_an_output_error(beside: ScriptedServer) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "elector_thread", "status"],
            env=environment(ELECTOR_GET_URL=beside.get_url),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("elector-thread status: cannot write the output")
    assert ended.stderr.count("\n") == 1


# --- the bare install -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real environment that holds the library and what it requires, and nothing else."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "elector_thread").symlink_to(Path(elector_thread.__file__).parent)
    for name in required("elector-thread"):
        for top in {file.parts[0] for file in importlib.metadata.files(name) or ()} - {".."}:
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return str(home / "bin" / "python")


def required(name: str) -> set[str]:
    """The distributions that ``name`` requires without any extra, however deep."""
    found: set[str] = set()
    for line in importlib.metadata.requires(name) or ():
        if "extra ==" not in line:
            other = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            found |= {other} | required(other)
    return found


def in_bare(python: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "elector_thread", *arguments],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("arguments", [["up"], ["elect", "pod-a"], ["fault", "--list"]])
def test_without_the_extra_it_says_how_to_install_it(
    bare_python: str, arguments: list[str]
) -> None:
    ended = in_bare(bare_python, *arguments)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"elector-thread {arguments[0]}: needs h11, starlette, uvicorn: "
        f"pip install 'elector-thread[cli]'\n"
    )


@pytest.mark.parametrize("command", parser.LOCAL_COMMANDS)
def test_without_the_extra_the_help_is_complete(
    bare_python: str, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--help"]) == 0
    ended = in_bare(bare_python, command, "--help")
    assert (ended.returncode, ended.stdout) == (0, capsys.readouterr().out)


def test_the_commands_for_the_pod_need_no_extra(bare_python: str, local: LocalElector) -> None:
    local.elect(socket.gethostname())
    for arguments in (["--help"], ["status"], ["is-leader"], ["run", "-q", "--", "true"]):
        ended = in_bare(bare_python, *arguments, **local.environ)
        assert (ended.returncode, ended.stderr) == (0, ""), arguments
    ended = in_bare(bare_python, "doctor", "--json", **local.environ)
    assert ended.stderr == ""
    assert json.loads(ended.stdout)["findings"]


def test_nothing_slow_is_imported_for_an_exit_code(beside: ScriptedServer) -> None:
    code = (
        "import sys; from elector_thread.cli import main; main(['is-leader']);"
        "print(sorted({'rich', 'starlette', 'uvicorn', 'h11'} & set(sys.modules)))"
    )
    env = environment(ELECTOR_GET_URL=beside.get_url)
    beside.leader = OTHER
    ended = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")

"""`status`, `is-leader`, `watch` and `doctor`; what is refused; the install without the extra."""

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
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import elector_thread
from elector_thread.cli import bare, main, workers
from elector_thread.cli.full import build
from elector_thread.local import LocalElector

from ..scripted import CHUNKED_SSE_HEAD, ScriptedServer, answer, chunk, event, result
from .conftest import OTHER, PATIENCE, US, Running, Terminal, environment

Spawn = Callable[..., Running]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "command-line.md"


@pytest.fixture
def beside(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The scripted server, as this process's elector; this process is pod-a."""
    for name in (*workers.COUNTS, "GUNICORN_CMD_ARGS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", US)
    monkeypatch.setenv("HOSTNAME", US)
    monkeypatch.setattr("elector_thread.cli.doctor.servers", list)
    return server


def of_the_pod() -> dict[str, str]:
    """What `beside` has put into the environment about the elector, for a process of its own."""
    return {name: os.environ[name] for name in os.environ if name.startswith("ELECTOR_")}


# --- status and is-leader ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leader", "code", "complaint"),
    [(US, 0, ""), (OTHER, 1, ""), (None, 2, "the elector knows no leader yet")],
)
def test_is_leader_answers_by_exit_code_with_exactly_one_get(
    beside: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    leader: str | None,
    code: int,
    complaint: str,
) -> None:
    beside.leader = leader
    assert main(["is-leader"]) == code
    assert [head.splitlines()[0] for head in beside.heads] == ["GET / HTTP/1.1"]
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == (1 if complaint else 0)


def test_is_leader_says_why_nothing_is_known(
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


def test_status_for_people_and_for_programs(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.leader = OTHER
    assert main(["status"]) == 0
    assert capsys.readouterr().out.split() == [
        *("state", "follower"),
        *("leader", OTHER),
        *("identity", US),
    ]
    assert main(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["leader"], found["identity"]) == ("follower", OTHER, US)


def test_status_says_that_it_is_this_pod_that_leads(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.leader = US
    assert main(["status"]) == 0
    assert f"{US} (this pod)\n" in capsys.readouterr().out


def test_status_without_an_answer_is_complete_all_the_same(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    beside.close()
    assert main(["status", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["last_error"] == "connection refused"
    assert "connection refused" in err


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


def test_watch_ends_quietly_when_nobody_reads_any_more(local: LocalElector, spawn: Spawn) -> None:
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


# --- doctor --------------------------------------------------------------------------------


@pytest.fixture
def examine(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, dict[str, list[tuple[str, str]]]]]:
    """Runs ``doctor --json``: its code, and by level what each check said."""

    def examine() -> tuple[int, dict[str, list[tuple[str, str]]]]:
        code = main(["doctor", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (code == 0)
        levels: dict[str, list[tuple[str, str]]] = {"ok": [], "note": [], "mend": []}
        for finding in report["findings"]:
            text = f"{finding['says']} → {finding['mend']}"
            levels[finding["level"]].append((finding["check"], text))
        return code, levels

    return examine


Examine = Callable[[], tuple[int, dict[str, list[tuple[str, str]]]]]


def test_doctor_finds_all_well(beside: ScriptedServer, examine: Examine) -> None:
    beside.leader = US
    code, found = examine()
    assert code == 0
    assert not found["mend"]
    assert [check for check, _ in found["ok"]] == ["environment", "GET", "stream", "identity"]


ILLS = {
    "not configured": ({"ELECTOR_GET_URL": "", "ELECTOR_SSE_URL": ""}, "spec.leaderElection: true"),
    "bad number": ({"ELECTOR_THREAD_GRACE_PERIOD": "x"}, "ELECTOR_THREAD_GRACE_PERIOD: expected"),
    "misspelt": ({"ELECTOR_THREAD_GRACE_PERIODE": "9"}, "rename it to ELECTOR_THREAD_GRACE_PERIOD"),
    "other case": ({"ELECTOR_THREAD_IDENTITY": "POD-B"}, "names are compared exactly"),
    "made-up name": ({"ELECTOR_THREAD_IDENTITY": "x", "HOSTNAME": "y"}, "never leader"),
    "leader by HOSTNAME": ({"ELECTOR_THREAD_IDENTITY": "x", "HOSTNAME": OTHER}, "never leader"),
    "workers": ({"WEB_CONCURRENCY": "4"}, "WEB_CONCURRENCY=4: in the leader pod, every worker"),
    "gunicorn": ({"GUNICORN_CMD_ARGS": "-w 3"}, "--workers 3"),
}


@pytest.mark.parametrize(("variables", "says"), ILLS.values(), ids=ILLS)
def test_doctor_names_what_is_wrong_and_what_mends_it(
    beside: ScriptedServer,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    says: str,
) -> None:
    beside.leader = OTHER
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, found = examine()
    assert code == 1
    assert says in " ".join(text for _, text in found["mend"])
    assert len(found["mend"]) == 1


def test_doctor_sees_that_nobody_listens(beside: ScriptedServer, examine: Examine) -> None:
    beside.close()
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["mend"]] == ["GET", "stream"]
    assert "spec.leaderElection: true" in found["mend"][0][1]


def test_doctor_sees_that_the_stream_is_none(beside: ScriptedServer, examine: Examine) -> None:
    beside.on_stream = lambda connection: connection.send(answer(result(OTHER)))
    beside.leader = OTHER
    code, found = examine()
    assert code == 1
    assert "is no event stream" in found["mend"][0][1]


def test_doctor_does_not_wait_for_a_silent_stream(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "0.2")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    beside.on_stream = lambda connection: (connection.send(head), connection.wait_gone())
    beside.leader = OTHER
    code, found = examine()
    assert code == 1
    assert "no event within 0.2 s" in found["mend"][0][1]


def test_doctor_knows_of_a_proxy_and_of_the_scope(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.leader = US
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    monkeypatch.setenv("ELECTOR_THREAD_SCOPE", "process")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    code, found = examine()
    assert code == 0
    assert "add 127.0.0.1 to NO_PROXY" in found["note"][0][1]
    assert ("workers" in dict(found["ok"])) is True


def test_doctor_says_when_no_proxy_exempts_the_elector(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.leader = US
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    code, found = examine()
    assert code == 0
    assert "NO_PROXY exempts 127.0.0.1" in dict(found["ok"])["proxies"]


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (["ELECTOR_GET_URL", "ELECTOR_SSE_URL"], "ELECTOR_PATH alone is the platform's old way"),
        (["ELECTOR_SSE_URL"], "ELECTOR_SSE_URL is not set"),
    ],
)
def test_doctor_says_what_an_elector_without_a_stream_means(
    beside: ScriptedServer,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    missing: list[str],
    says: str,
) -> None:
    beside.leader = US
    monkeypatch.setenv("ELECTOR_PATH", f"127.0.0.1:{beside.port}")
    for name in missing:
        monkeypatch.delenv(name)
    code, found = examine()
    assert code == 0
    assert says in dict(found["note"])["environment"]
    assert "noticed at the next poll" in dict(found["note"])["environment"]
    assert "stream" not in dict(found["ok"]), "there is none to look at"
    assert beside.stream_requests == 0


def test_doctor_knows_that_there_may_be_nobody_to_ask(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ELECTOR_GET_URL", "ELECTOR_SSE_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("ELECTOR_THREAD_WHEN_UNCONFIGURED", "follow")
    code, found = examine()
    assert code == 0
    assert "'follow' is assumed" in dict(found["note"])["GET"]
    assert beside.connections == 0


def test_doctor_leaves_a_variable_alone_that_resembles_no_setting(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.leader = US
    monkeypatch.setenv("ELECTOR_THREAD_COLOUR_OF_THE_SHED", "red")
    code, found = examine()
    assert code == 0
    assert not found["note"]


def test_doctor_before_the_first_election(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.leader = None
    monkeypatch.setenv("HOSTNAME", socket.gethostname() + "-not")
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", socket.gethostname())
    code, found = examine()
    assert code == 0
    assert "knows no leader yet" in dict(found["note"])["GET"]
    assert "that nobody leads yet" in dict(found["ok"])["stream"]
    assert "HOSTNAME says" in dict(found["note"])["identity"]
    monkeypatch.setenv("HOSTNAME", socket.gethostname())
    code, found = examine()
    assert "this host's name, by which electors know pods" in dict(found["ok"])["identity"]


def test_doctor_compares_the_stream_with_the_answer(
    beside: ScriptedServer, examine: Examine
) -> None:
    beside.leader = US
    news = CHUNKED_SSE_HEAD + chunk(event(OTHER))
    beside.on_stream = lambda connection: (connection.send(news), connection.wait_gone())
    code, found = examine()
    assert code == 1
    assert f"says {OTHER}, but GET says {US}" in dict(found["mend"])["stream"]


def test_doctor_reads_the_events(beside: ScriptedServer, examine: Examine) -> None:
    beside.leader = US
    news = CHUNKED_SSE_HEAD + chunk(b"data: not JSON\n\n")
    beside.on_stream = lambda connection: (connection.send(news), connection.wait_gone())
    code, found = examine()
    assert code == 1
    assert "sends events that cannot be read" in dict(found["mend"])["stream"]


def test_doctor_knows_a_cure_for_an_elector_that_hangs(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "0.2")
    beside.on_get = lambda connection: connection.wait_gone()
    code, found = examine()
    assert code == 1
    assert "hangs or is short of CPU" in dict(found["mend"])["GET"]
    assert "ELECTOR_THREAD_REQUEST_TIMEOUT is 0.2 s" in dict(found["mend"])["GET"]


def test_doctor_knows_a_cure_for_another_ones_address(
    beside: ScriptedServer, examine: Examine
) -> None:
    page = answer(b"<html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")
    beside.on_get = lambda connection: connection.send(page)
    code, found = examine()
    assert code == 1
    assert "must be the elector's own address" in dict(found["mend"])["GET"]


def test_doctor_knows_a_cure_for_a_name_that_nobody_knows(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("ELECTOR_GET_URL", "http://elector.invalid:4040/")
    monkeypatch.delenv("ELECTOR_SSE_URL")
    code, found = examine()
    assert code == 1
    assert "cannot be resolved" in dict(found["mend"])["GET"]
    assert "ELECTOR_GET_URL=http://localhost:4040/" in dict(found["mend"])["GET"]


@pytest.mark.parametrize("no_colour", [False, True])
def test_doctor_shows_on_a_terminal_what_is_well(beside: ScriptedServer, no_colour: bool) -> None:
    beside.leader = US
    plain = {"NO_COLOR": "1"} if no_colour else {}
    env = environment(**of_the_pod(), HOSTNAME=US, TERM="xterm", **plain)
    with Terminal("doctor", env=env) as terminal:
        terminal.end()
    assert (b"\x1b[32mok\x1b[0m" in terminal.seen) is not no_colour
    assert b"pod-a leads" in terminal.seen


def test_doctor_shows_no_credentials(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, name in ((beside.get_url, "ELECTOR_GET_URL"), (beside.sse_url, "ELECTOR_SSE_URL")):
        monkeypatch.setenv(name, url.replace("://", "://user:secret@") + "?token=secret")
    monkeypatch.setenv("ELECTOR_PATH", "user:secret@localhost:4040")
    main(["doctor"])
    assert "secret" not in "".join(capsys.readouterr())


def test_doctor_fits_into_80_columns(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    beside.close()
    main(["doctor"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_workers_are_counted_from_proc(tmp_path: Path) -> None:
    processes = {
        7: (1, "gunicorn: master [app]"),
        8: (7, "gunicorn: worker [app]"),
        9: (7, "gunicorn: worker [app]"),
        20: (1, "/usr/bin/python\0/usr/bin/uvicorn\0app:app"),
        21: (20, "/usr/bin/python\0-c\0from multiprocessing.spawn import spawn_main; spawn_main()"),
        22: (20, "/usr/bin/python\0-c\0from multiprocessing.resource_tracker import main"),
        30: (1, "uwsgi\0--ini\0app.ini"),
        31: (30, "uwsgi\0--ini\0app.ini"),
        32: (30, "uwsgi\0--ini\0app.ini"),
        33: (30, "grep\0gunicorn"),
    }
    for pid, (parent, words) in processes.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text(words + "\0")
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} {pid} {pid} 0 -1")
    assert list(workers.servers(tmp_path)) == [
        "gunicorn (pid 7) has 2 workers",
        "uwsgi (pid 30) has 2 workers",
    ]


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "there is no command 'nosuch'"),
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
        (["run", "--grace", "soon", "--", "true"], "expected seconds, 0 or more, got 'soon'"),
        (["run", "--grace", "-1", "--", "true"], "expected seconds, 0 or more, got '-1'"),
        (["run", "--grace", "nan", "--", "true"], "expected seconds, 0 or more, got 'nan'"),
        (["up", "--nosuch"], "--nosuch"),
        (["status"], "ELECTOR_GET_URL is not set"),
        (["is-leader"], "ELECTOR_GET_URL is not set"),
        (["watch"], "ELECTOR_GET_URL is not set"),
        (["run", "--", "true"], "ELECTOR_GET_URL is not set"),
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


@pytest.mark.parametrize("command", bare.COMMANDS)
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
def test_run_tells_where_the_dashes_belong(
    capsys: pytest.CaptureFixture[str], arguments: str, meant: str
) -> None:
    assert main(["run", *shlex.split(arguments)]) == 2
    assert capsys.readouterr() == (
        "",
        f"elector-thread run: put '--' before the command: elector-thread run {meant}\n",
    )


def test_a_complaint_names_the_command_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--bogus"]) == 2
    assert capsys.readouterr().err == (
        "elector-thread status: unrecognized arguments: --bogus; see elector-thread status --help\n"
    )
    assert main(["--bogus"]) == 2
    assert capsys.readouterr().err == (
        "elector-thread: unrecognized arguments: --bogus; see elector-thread --help\n"
    )


def test_a_bad_value_is_told_as_the_page_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--grace", "soon", "--", "celery", "-A", "app", "beat"])
    assert f"echo $?\n{capsys.readouterr().err}2\n" in PAGE.read_text()


def test_the_page_unsets_all_that_the_platform_sets(
    local: LocalElector, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = re.search(
        r"^\$ env (.*) elector-thread is-leader; echo \$\?\n(.*\n)2$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert shown is not None
    for name, value in local.environ.items():
        monkeypatch.setenv(name, value)
    for name in shown[1].replace("-u", "").split():
        monkeypatch.delenv(name)
    assert main(["is-leader"]) == 2
    assert capsys.readouterr() == ("", shown[2])


@pytest.mark.parametrize(
    ("program", "code"),
    [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126), ("", 127)],
)
def test_a_program_that_cannot_run_is_told_at_once(
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
    extra = typer.main.get_group(build()).commands
    assert listed == [*bare.COMMANDS, *bare.LAPTOP]
    assert sorted(bare.LAPTOP) == sorted(extra)


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


def test_a_complaint_for_a_closed_stderr_goes_nowhere_else(beside: ScriptedServer) -> None:
    beside.leader = None
    done = run_closed("2>&-", "is-leader", "-v")
    assert (done.returncode, done.stdout) == (2, "unknown\n")


def test_a_closed_stdout_is_no_matter_where_nothing_is_to_be_said(beside: ScriptedServer) -> None:
    beside.leader = US
    done = run_closed(">&-", "is-leader")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "--json"], ["watch"], ["doctor"], ["fault", "--list"]]
)
def test_a_closed_stdout_is_output_that_cannot_be_written(
    beside: ScriptedServer, arguments: list[str]
) -> None:
    beside.leader = US
    done = run_closed(">&-", *arguments)
    expected = f"elector-thread {arguments[0]}: cannot write the output: it is closed\n"
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["status", "--help"], ["up", "--help"]]
)
def test_help_that_cannot_be_written_is_told(beside: ScriptedServer, arguments: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = run_closed("> /dev/full", *arguments)
    assert done.returncode == 2
    assert "cannot write the output" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["fault", "--list"], ["up", "--help"], ["status", "--help"]])
def test_nobody_reads_any_more(beside: ScriptedServer, arguments: list[str]) -> None:
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
def test_why_there_is_no_answer_is_one_line_beside_no_log(
    beside: ScriptedServer, command: str
) -> None:
    beside.close()
    done = run_closed("", command)
    assert done.returncode == 2
    assert done.stderr == (
        f"elector-thread {command}: no answer from {beside.get_url}: connection refused\n"
    )


def test_output_that_cannot_be_written_is_told(beside: ScriptedServer) -> None:
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


# --- Ctrl-C before there is a command -----------------------------------------------------------

SCRIPT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"][
    "elector-thread"
]


@pytest.mark.parametrize("module", ["elector_thread", "requests", "elector_thread.cli.bare"])
def test_ctrl_c_while_it_is_being_imported_is_quiet(tmp_path: Path, module: str) -> None:
    # not measured: whatever measures imports the package before the script's first line
    env = {k: v for k, v in environment().items() if not k.startswith("COVERAGE_")}
    source, _, function = SCRIPT.partition(":")
    # loaded by the interpreter itself, before the console script's first line
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
    )
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; from {source} import {function}; sys.exit({function}())",
            "-h",
        ],
        env={**env, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


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


def test_without_the_extra_it_says_how_to_install_it(bare_python: str) -> None:
    ended = in_bare(bare_python, "up", "--whatever")
    assert ended.returncode == 2
    assert ended.stderr == (
        "elector-thread up: needs more packages: pip install 'elector-thread[cli]'\n"
    )


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
        "print(sorted({'typer', 'rich', 'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    env = environment(ELECTOR_GET_URL=beside.get_url)
    beside.leader = OTHER
    ended = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")

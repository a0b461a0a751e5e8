"""`status`, `is-leader`, `watch` and `doctor`; invalid arguments; the install without the extra."""

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

import pytest

import elector_thread
from elector_thread.cli import main, parser
from elector_thread.integrations import _environment
from elector_thread.local import LocalElector

from ..scripted import CHUNKED_SSE_HEAD, Connection, ScriptedServer, answer, chunk, event, result
from .conftest import OTHER, PATIENCE, US, Running, Terminal, environment

Spawn = Callable[..., Running]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "command-line.md"


@pytest.fixture
def beside(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The scripted server, as this process's elector; this process is pod-a."""
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    for name in (*_environment.WORKER_VARIABLES, "GUNICORN_CMD_ARGS", *proxies):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", US)
    monkeypatch.setenv("HOSTNAME", US)
    monkeypatch.setattr("elector_thread.cli.checks_environment.running_workers", lambda _: ())
    return server


def of_the_pod() -> dict[str, str]:
    """The variables about the elector that `beside` has set, for a process of its own."""
    return {name: os.environ[name] for name in os.environ if name.startswith("ELECTOR_")}


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


# --- doctor --------------------------------------------------------------------------------


@pytest.fixture
def examine(
    beside: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, dict[str, list[tuple[str, str]]]]]:
    """Runs ``doctor --json``; returns its exit code, and the findings by level."""

    def examine() -> tuple[int, dict[str, list[tuple[str, str]]]]:
        code = main(["doctor", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (code == 0)
        levels: dict[str, list[tuple[str, str]]] = {"ok": [], "note": [], "problem": []}
        for finding in report["findings"]:
            text = f"{finding['message']} → {finding['remedy']}"
            levels[finding["level"]].append((finding["check"], text))
        return code, levels

    return examine


Examine = Callable[[], tuple[int, dict[str, list[tuple[str, str]]]]]


def test_doctor_finds_no_problems(beside: ScriptedServer, examine: Examine) -> None:
    beside.leader = US
    code, found = examine()
    assert code == 0
    assert not found["problem"]
    assert [check for check, _ in found["ok"]] == ["environment", "GET", "stream", "identity"]


PROBLEMS = {
    "not configured": ({"ELECTOR_GET_URL": "", "ELECTOR_SSE_URL": ""}, "spec.leaderElection: true"),
    "bad number": ({"ELECTOR_THREAD_GRACE_PERIOD": "x"}, "ELECTOR_THREAD_GRACE_PERIOD: expected"),
    "misspelt": ({"ELECTOR_THREAD_GRACE_PERIODE": "9"}, "rename it to ELECTOR_THREAD_GRACE_PERIOD"),
    "other case": ({"ELECTOR_THREAD_IDENTITY": "POD-B"}, "names are compared exactly"),
    "made-up name": ({"ELECTOR_THREAD_IDENTITY": "x", "HOSTNAME": "y"}, "never leader"),
    "leader by HOSTNAME": ({"ELECTOR_THREAD_IDENTITY": "x", "HOSTNAME": OTHER}, "never leader"),
    "workers": (
        {"WEB_CONCURRENCY": "4"},
        "WEB_CONCURRENCY asks for 4 workers: in the leader pod, every",
    ),
    "gunicorn": ({"GUNICORN_CMD_ARGS": "-w 3"}, "GUNICORN_CMD_ARGS asks for 3"),
}


@pytest.mark.parametrize(("variables", "says"), PROBLEMS.values(), ids=PROBLEMS)
def test_doctor_finds_a_problem_and_its_remedy(
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
    assert says in " ".join(text for _, text in found["problem"])
    assert len(found["problem"]) == 1


def test_doctor_reports_a_refused_connection_once(beside: ScriptedServer, examine: Examine) -> None:
    beside.close()
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["problem"]] == ["GET"], "one cause, one finding"
    assert "spec.leaderElection: true" in found["problem"][0][1]


def test_doctor_reports_json_instead_of_a_stream_as_a_wrong_url(
    beside: ScriptedServer, examine: Examine
) -> None:
    beside.on_stream = lambda connection: connection.send(answer(result(OTHER)))
    beside.leader = OTHER
    code, found = examine()
    assert code == 1
    assert "is not an event stream" in found["problem"][0][1]
    assert "ELECTOR_SSE_URL is probably wrong" in found["problem"][0][1]


def test_doctor_does_not_wait_for_a_silent_stream(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "0.2")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    beside.on_stream = lambda connection: (connection.send(head), connection.wait_gone())
    beside.leader = OTHER
    code, found = examine()
    assert code == 1
    assert "silent for 0.2 s" in found["problem"][0][1]


def test_doctor_reports_a_proxy_and_the_scope(
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


def test_doctor_reports_that_no_proxy_exempts_the_elector(
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
        (["ELECTOR_GET_URL", "ELECTOR_SSE_URL"], "ELECTOR_SSE_URL is not set"),
        (["ELECTOR_SSE_URL"], "ELECTOR_SSE_URL is not set"),
    ],
)
def test_doctor_explains_what_a_missing_stream_means(
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
    assert "noticed only at the next poll" in dict(found["note"])["environment"]
    assert "stream" not in dict(found["ok"]), "there is no stream to check"
    assert beside.stream_requests == 0


def test_doctor_accepts_that_no_elector_is_configured(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ELECTOR_GET_URL", "ELECTOR_SSE_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("ELECTOR_THREAD_WHEN_UNCONFIGURED", "follow")
    code, found = examine()
    assert code == 0
    assert "when_unconfigured='follow'" in dict(found["note"])["GET"]
    assert beside.connections == 0


def test_doctor_ignores_a_variable_that_resembles_no_setting(
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
    assert "no election result yet" in dict(found["note"])["GET"]
    assert "no election result yet" in dict(found["ok"])["stream"]
    assert "HOSTNAME is" in dict(found["note"])["identity"]
    monkeypatch.setenv("HOSTNAME", socket.gethostname())
    code, found = examine()
    assert "the host name that the elector uses" in dict(found["ok"])["identity"]


def test_doctor_compares_the_stream_with_the_answer(
    beside: ScriptedServer, examine: Examine
) -> None:
    beside.leader = US
    news = CHUNKED_SSE_HEAD + chunk(event(OTHER))
    beside.on_stream = lambda connection: (connection.send(news), connection.wait_gone())
    code, found = examine()
    assert code == 1
    assert f"names {OTHER}, but GET names {US}" in dict(found["problem"])["stream"]


def test_doctor_reads_the_events(beside: ScriptedServer, examine: Examine) -> None:
    beside.leader = US
    news = CHUNKED_SSE_HEAD + chunk(b"data: not JSON\n\n")
    beside.on_stream = lambda connection: (connection.send(news), connection.wait_gone())
    code, found = examine()
    assert code == 1
    assert "sends events that cannot be read" in dict(found["problem"])["stream"]


def test_doctor_has_a_remedy_for_an_elector_that_hangs(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "0.2")
    beside.on_get = lambda connection: connection.wait_gone()
    code, found = examine()
    assert code == 1
    assert "hangs or is short of CPU" in dict(found["problem"])["GET"]
    assert "ELECTOR_THREAD_REQUEST_TIMEOUT is 0.2 s" in dict(found["problem"])["GET"]


HTML = answer(b"<html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")


@pytest.mark.parametrize("reply", ["hangs", "HTML", "error"])
def test_doctor_reports_one_cause_once(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "0.2")
    error = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"

    def react(connection: Connection) -> None:
        if reply == "hangs":
            connection.wait_gone()
        connection.send(HTML if reply == "HTML" else error)

    beside.on_get = beside.on_stream = react
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["problem"]] == ["GET"]


def test_doctor_checks_a_stream_on_another_server_even_if_get_fails(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("ELECTOR_GET_URL", f"http://127.0.0.1:{port}/")
    beside.on_stream = lambda connection: connection.send(HTML)
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["problem"]] == ["GET", "stream"]
    assert "text/html" in dict(found["problem"])["stream"]
    assert "ELECTOR_SSE_URL is probably wrong" in dict(found["problem"])["stream"]


def test_doctor_has_a_remedy_for_a_wrong_address(beside: ScriptedServer, examine: Examine) -> None:
    beside.on_get = lambda connection: connection.send(HTML)
    code, found = examine()
    assert code == 1
    assert "set ELECTOR_GET_URL to the elector's own address" in dict(found["problem"])["GET"]


def test_doctor_has_a_remedy_for_an_unknown_host(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("ELECTOR_GET_URL", "http://elector.invalid:4040/")
    monkeypatch.delenv("ELECTOR_SSE_URL")
    code, found = examine()
    assert code == 1
    assert "cannot be resolved" in dict(found["problem"])["GET"]
    assert "ELECTOR_GET_URL=http://localhost:4040/" in dict(found["problem"])["GET"]


@pytest.mark.parametrize("no_colour", [False, True])
def test_doctor_uses_colours_on_a_terminal(beside: ScriptedServer, no_colour: bool) -> None:
    beside.leader = US
    plain = {"NO_COLOR": "1"} if no_colour else {}
    env = environment(**of_the_pod(), HOSTNAME=US, TERM="xterm", **plain)
    with Terminal("doctor", env=env) as terminal:
        terminal.end()
    assert (b"\x1b[32mok\x1b[0m" in terminal.seen) is not no_colour
    assert b"pod-a is the leader" in terminal.seen


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


ELECTOR = {"ELECTOR_GET_URL": "http://localhost:4040/"}


def make_proc(folder: Path, processes: dict[int, tuple[int, str]], **environ: str) -> None:
    """A /proc with these processes: parent and command line by pid, all with one environment."""
    text = "\0".join(f"{name}={value}" for name, value in {"PATH": "/bin", **environ}.items())
    for pid, (parent, words) in processes.items():
        (folder / str(pid)).mkdir(parents=True)
        (folder / str(pid) / "cmdline").write_text(words + "\0")
        (folder / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} {pid} {pid} 0 -1")
        (folder / str(pid) / "environ").write_text(text)


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
    make_proc(tmp_path, processes, **ELECTOR)
    assert list(_environment.running_workers(ELECTOR, tmp_path)) == [
        ("gunicorn (pid 7)", 2),
        ("uwsgi (pid 30)", 2),
    ]


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ("PATH=/bin\0ELECTOR_GET_URL=http://localhost:4040/\0", True),
        ("PATH=/bin\0ELECTOR_GET_URL=http://localhost:36101/\0", False),
        ("PATH=/bin\0HOME=/root\0", False),
        ("\0\0\0", True),
    ],
    ids=["same elector", "another elector", "no elector", "overwritten by a title"],
)
def test_servers_of_other_applications_are_not_counted(
    tmp_path: Path, environ: str, found: bool
) -> None:
    make_proc(tmp_path, {7: (1, "gunicorn"), 8: (7, "gunicorn"), 9: (7, "gunicorn")})
    (tmp_path / "7" / "environ").write_text(environ)
    assert bool(list(_environment.running_workers(ELECTOR, tmp_path))) is found
    (tmp_path / "7" / "environ").unlink()  # as if it were another user's
    assert not list(_environment.running_workers(ELECTOR, tmp_path))


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

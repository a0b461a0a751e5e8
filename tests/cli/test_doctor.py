"""`doctor`: the environment, the sidecar, proxies and workers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from elector_thread.cli import main
from elector_thread.integrations import _environment

from ..scripted import CHUNKED_SSE_HEAD, Connection, ScriptedServer, answer, chunk, event, result
from .conftest import OTHER, US, Examine, Terminal, environment, of_the_pod

HTML = answer(b"<html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")


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


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WEB_CONCURRENCY", "4", "WEB_CONCURRENCY asks for 4 workers: in the leader pod, every"),
        ("GUNICORN_CMD_ARGS", "-w 3", "GUNICORN_CMD_ARGS asks for 3 workers"),
    ],
)
def test_doctor_notes_several_workers_whose_work_is_not_known(
    beside: ScriptedServer,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    says: str,
) -> None:
    beside.leader = OTHER
    monkeypatch.setenv(name, value)
    code, found = examine()
    assert (code, found["problem"]) == (0, [])
    assert says in dict(found["note"])["workers"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ELECTOR_THREAD_GRACE_PERIOD": "soon"},
        {"ELECTOR_THREAD_GRACE_PERIOD": "9"},
        {"ELECTOR_THREAD_VERIFY": "yes"},
        {"ELECTOR_THREAD_SCOPE": "proces", "WEB_CONCURRENCY": "4"},
        {"ELECTOR_SSE_URL": "localhost:4040/sse"},
        {"ELECTOR_THREAD_VERIFY": "lease", "NAIS_APP_NAME": "a/b", "KUBERNETES_SERVICE_HOST": "h"},
    ],
    ids=lambda wrong: " ".join(wrong),
)
def test_doctor_asks_in_spite_of_a_bad_setting(
    beside: ScriptedServer,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, str],
) -> None:
    beside.leader = US
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    code, found = examine()
    assert code == 1
    ((check, text),) = found["problem"]
    assert check == "settings", "one cause, one finding"
    assert f"the checks below ignore the variable {next(iter(wrong))}" in text
    assert f"names {US}" in dict(found["ok"])["GET"]
    assert US in dict(found["ok"])["identity"]


def test_doctor_names_each_bad_setting(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.leader = OTHER
    monkeypatch.setenv("ELECTOR_THREAD_POLL_INTERVAL", "x")
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "a\tb")
    code, found = examine()
    assert code == 1
    assert [text.partition(":")[0] for _, text in found["problem"]] == [
        "ELECTOR_THREAD_POLL_INTERVAL",
        "ELECTOR_THREAD_IDENTITY",
    ]
    assert f"names {OTHER}" in dict(found["ok"])["GET"]


def test_doctor_cannot_ask_a_bad_address(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_GET_URL", "localhost:4040")
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["problem"]] == ["settings"]
    assert "GET" not in dict(found["ok"])


def test_doctor_reports_a_refused_connection_once(beside: ScriptedServer, examine: Examine) -> None:
    beside.close()
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["problem"]] == ["GET"], "one cause, one finding"
    assert "spec.leaderElection: true" in found["problem"][0][1]


@pytest.mark.parametrize("reply", ["HTML", "JSON", "404"])
def test_doctor_reports_something_else_than_a_stream_as_a_wrong_url(
    beside: ScriptedServer, examine: Examine, reply: str
) -> None:
    not_found = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    replies = {"HTML": HTML, "JSON": answer(result(OTHER)), "404": not_found}
    beside.on_stream = lambda connection: connection.send(replies[reply])
    beside.leader = OTHER
    code, found = examine()
    assert code == 1
    ((check, text),) = found["problem"]
    assert check == "stream"
    assert text.startswith(f"ELECTOR_SSE_URL is the wrong URL: {beside.sse_url} answers, but not")
    assert "set ELECTOR_SSE_URL to the elector's stream" in text
    assert "http://localhost:4040/sse" in text


def test_doctor_does_not_call_the_platforms_own_url_wrong(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elector_thread.cli.checks_sidecar.SSE_URL", beside.sse_url)
    beside.on_stream = lambda connection: connection.send(answer(result(OTHER)))
    beside.leader = OTHER
    text = dict(examine()[1]["problem"])["stream"]
    assert "wrong URL" not in text
    assert "the elector is too old to have a stream" in text


def test_doctor_does_not_call_a_url_wrong_because_of_a_server_error(
    beside: ScriptedServer, examine: Examine
) -> None:
    error = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
    beside.on_stream = lambda connection: connection.send(error)
    beside.leader = OTHER
    text = dict(examine()[1]["problem"])["stream"]
    assert "wrong URL" not in text
    assert "the elector reports an error" in text


def test_doctor_does_not_wait_for_a_silent_stream(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "1.5")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    beside.on_stream = lambda connection: (connection.send(head), connection.wait_gone())
    beside.leader = OTHER
    code, found = examine()
    assert code == 1
    assert "silent for 1.5 s" in found["problem"][0][1]


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
    assert "add 127.0.0.1 to NO_PROXY" in dict(found["note"])["proxies"]
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
    assert "environment" not in dict(found["note"])


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
    assert "ELECTOR_SSE_URL is the wrong URL" in dict(found["problem"])["stream"]


def test_doctor_has_a_remedy_for_a_wrong_address(beside: ScriptedServer, examine: Examine) -> None:
    beside.on_get = lambda connection: connection.send(HTML)
    code, found = examine()
    assert code == 1
    assert "set ELECTOR_GET_URL to the elector's own address" in dict(found["problem"])["GET"]


def test_doctor_has_a_remedy_for_a_connection_that_is_lost(
    beside: ScriptedServer, examine: Examine
) -> None:
    beside.on_get = Connection.shut
    code, found = examine()
    assert code == 1
    ((check, text),) = found["problem"]
    assert check == "GET"
    assert "check ELECTOR_GET_URL" in text
    assert "kubectl logs POD -c elector" in text


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
        20: (1, "/usr/bin/python\0/usr/bin/uvicorn\0--port\08000\0shop.api:app"),
        21: (20, "/usr/bin/python\0-c\0from multiprocessing.spawn import spawn_main; spawn_main()"),
        22: (20, "/usr/bin/python\0-c\0from multiprocessing.resource_tracker import main"),
        23: (20, "/usr/bin/python\0-c\0from multiprocessing.spawn import spawn_main; spawn_main()"),
        30: (1, "uwsgi\0--ini\0app.ini"),
        31: (30, "uwsgi\0--ini\0app.ini"),
        32: (30, "uwsgi\0--ini\0app.ini"),
        33: (30, "grep\0gunicorn"),
    }
    make_proc(tmp_path, processes, **ELECTOR)
    assert list(_environment.running_workers(ELECTOR, tmp_path)) == [
        ("gunicorn (pid 7)", 2),
        ("uvicorn shop.api:app (pid 20)", 2),
        ("uwsgi (pid 30)", 2),
    ]


def test_doctor_names_only_a_few_of_many_servers(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [_environment.WorkerCount(f"gunicorn (pid {pid})", 2) for pid in range(10, 20)]
    monkeypatch.setattr(_environment, "running_workers", lambda _: servers)
    beside.leader = US
    text = dict(examine()[1]["note"])["workers"]
    assert text.count("gunicorn (pid ") == 4
    assert "; and 6 more: in the leader pod, every worker is a leader" in text


@pytest.mark.parametrize(
    ("environ", "ours", "found"),
    [
        ("PATH=/bin\0ELECTOR_GET_URL=http://localhost:4040/\0", {}, True),
        ("PATH=/bin\0ELECTOR_GET_URL=http://localhost:36101/\0", {}, False),
        ("PATH=/bin\0ELECTOR_GET_URL=http://localhost:4040/\0NAIS_POD_NAME=other\0", {}, False),
        ("PATH=/bin\0HOME=/root\0", {}, False),
        ("\0\0\0", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ("\0\0\0", {}, False),
    ],
    ids=["same", "another elector", "another pod", "no elector", "a title", "a title, in no pod"],
)
def test_servers_of_other_pods_and_applications_are_not_counted(
    tmp_path: Path, environ: str, ours: dict[str, str], found: bool
) -> None:
    env = {**ELECTOR, **ours}
    make_proc(tmp_path, {7: (1, "gunicorn"), 8: (7, "gunicorn"), 9: (7, "gunicorn")})
    (tmp_path / "7" / "environ").write_text(environ)
    assert bool(list(_environment.running_workers(env, tmp_path))) is found
    (tmp_path / "7" / "environ").unlink()  # as if it were another user's
    assert not list(_environment.running_workers(env, tmp_path))

"""The Django adapter, in the example project and real processes."""

from __future__ import annotations

import io
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.test import override_settings

from elector_thread import (
    ConfigurationError,
    Leadership,
    configure,
    default_elector,
    on_elected,
    while_leader,
)
from elector_thread._runtime import access
from elector_thread._runtime.podwork import count_working
from elector_thread.integrations.django import conf, connections, signals
from elector_thread.integrations.django.checks import check_elector
from elector_thread.integrations.django.management.commands import elector_status, only_on_leader
from elector_thread.integrations.django.serving import _command_serves
from elector_thread.local import LocalElector
from elector_thread.settings import resolve
from elector_thread.testing import own_default_elector

from ..conftest import MakeElector
from ..polling import until
from ..scripted import ScriptedServer
from .django_project import PROJECT, manage
from .replica import PATIENCE, SWITCH, Replica, environment, free_port, wait_streams


def platform(server: ScriptedServer) -> dict[str, str]:
    return environment({"ELECTOR_GET_URL": server.get_url, "ELECTOR_SSE_URL": server.sse_url})


def test_runserver_serves_in_the_autoreloaders_child_alone(
    local: LocalElector, tmp_path: Path
) -> None:
    port = free_port()
    touched = tmp_path / "reloaded.py"
    touched.write_text("")
    (tmp_path / "sitecustomize.py").write_text("import reloaded\n")
    env = environment(local.environ, {"PYTHONPATH": str(tmp_path)})
    with Replica(
        "manage.py", "runserver", f"127.0.0.1:{port}", env=env, port=port, cwd=PROJECT
    ) as replica:
        replica.wait_line("leadership 1 begins")
        replica.wait_leader("pod-a", True)
        wait_streams(local, 1)  # the reloader's parent has none
        before = replica.get()[1]["pid"]

        local.elect("pod-b")
        replica.wait_line("leadership 1 is over", within=SWITCH)
        replica.wait_leader("pod-b", False)
        code, health = replica.get("/elector")
        assert (code, health["state"], health["alive"]) == (200, "follower", True)

        local.elect("pod-a")
        replica.wait_line("leadership 2 begins")
        touch_until(touched, lambda: replica.wait_line("leadership 1 begins", count=2, within=8))
        assert replica.get()[1]["pid"] != before
        wait_streams(local, 1)
    wait_streams(local, 0)


def touch_until(file: Path, reloaded: Callable[[], object]) -> None:
    """Change a file's time until the reloader has noticed.

    It looks once a second, and takes what it finds at its first look for unchanged.
    """
    for attempt in range(1, 5):
        later = time.time() + 10 * attempt
        os.utime(file, (later, later))
        try:
            reloaded()
        except AssertionError:
            if attempt == 4:
                raise
        else:
            return


def test_runserver_without_reloader(local: LocalElector) -> None:
    port = free_port()
    env = environment(local.environ)
    options = ("--noreload", f"127.0.0.1:{port}")
    with Replica("manage.py", "runserver", *options, env=env, port=port, cwd=PROJECT) as replica:
        replica.wait_line("leadership 1 begins")
        wait_streams(local, 1)


def test_a_wsgi_server_starts_when_it_loads_the_application(local: LocalElector) -> None:
    code = "import wsgi; from elector_thread import default_elector; import threading; "
    code += "print(sorted(t.name for t in threading.enumerate() if t.name[:8] == 'elector-'))"
    done = manage(env=environment(local.environ), python=("-c", code))
    assert "['elector-dispatch', 'elector-poll', 'elector-stream']" in done.stdout, done.stderr


def test_a_master_that_preloads_leaves_it_to_its_worker(local: LocalElector) -> None:
    port = free_port()
    command = ("-m", "gunicorn", "--preload", "-b", f"127.0.0.1:{port}", "wsgi")
    with Replica(*command, env=environment(local.environ), port=port, cwd=PROJECT) as replica:
        replica.get()  # the worker's first use
        replica.wait_line("leadership 1 begins")
        wait_streams(local, 1)  # the master has none
        local.elect("pod-b")
        replica.wait_line("leadership 1 is over", within=SWITCH)
    wait_streams(local, 0)


@pytest.mark.parametrize("arguments", [("migrate", "--check"), ("test", "reports")], ids=" ".join)
def test_management_commands_do_not_connect(
    server: ScriptedServer, arguments: tuple[str, ...]
) -> None:
    done = manage(*arguments, env=platform(server))
    assert done.returncode == 0, done.stderr
    assert server.connections == 0


@pytest.mark.parametrize("command", ["check", "shell", "collectstatic", "send_report", "--help"])
def test_commands_that_do_not_serve(command: str) -> None:
    assert not _command_serves(["manage.py", command], start_in=["consume"])


def test_commands_that_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _command_serves(["manage.py", "consume"], start_in=["consume"])
    assert not _command_serves(["manage.py", "runserver"], start_in=[]), "the reloader's parent"
    monkeypatch.setenv("RUN_MAIN", "true")
    assert _command_serves(["manage.py", "runserver"], start_in=[])


def test_a_script_that_sets_django_up_does_not_connect(server: ScriptedServer) -> None:
    env = {**platform(server), "DJANGO_SETTINGS_MODULE": "settings"}
    done = manage(env=env, python=("-c", "import django; django.setup()"))
    assert done.returncode == 0, done.stderr
    assert server.connections == 0


# --- commands -----------------------------------------------------------------------


@pytest.fixture
def pod_a(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The environment of pod-a, for what runs in this process."""
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
    return server


def call(command: BaseCommand, *arguments: str) -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_elector_status(pod_a: ScriptedServer) -> None:
    pod_a.leader = "pod-b"
    printed = call(elector_status.Command())
    assert printed == "state:    follower\nleader:   pod-b\nidentity: pod-a\n"
    assert pod_a.stream_requests == 0


def test_elector_status_as_json(pod_a: ScriptedServer) -> None:
    pod_a.leader = "pod-a"
    assert json.loads(call(elector_status.Command(), "--json"))["state"] == "leader"


def test_elector_status_without_settings() -> None:
    with pytest.raises(CommandError, match="ELECTOR_GET_URL is not set") as caught:
        call(elector_status.Command())
    assert caught.value.returncode == 2


def test_elector_status_without_an_answer_is_one_line(server: ScriptedServer) -> None:
    env = platform(server)
    server.close()
    done = manage("elector_status", env=env)
    assert done.returncode == 1
    assert done.stderr == (f"CommandError: no answer from {server.get_url}: connection refused\n")


def test_only_on_leader_runs_the_command_on_the_leader(server: ScriptedServer) -> None:
    server.leader = "pod-a"
    done = manage("only_on_leader", "send_report", "--verbosity", "2", env=platform(server))
    assert (done.returncode, done.stdout) == (0, "the report is sent\n"), done.stderr
    assert server.stream_requests == 0


def test_only_on_leader_skips_the_command_on_a_follower(pod_a: ScriptedServer) -> None:
    pod_a.leader = "pod-b"
    printed = call(only_on_leader.Command(), "no_such_command")  # not looked up
    assert printed == "no_such_command: skipped, because pod-b is the leader\n"


def test_only_on_leader_waits_for_the_first_election(pod_a: ScriptedServer) -> None:
    message = "the leader is not known after 0.2 s: no election has taken place yet"
    with pytest.raises(CommandError, match=message) as caught:
        call(only_on_leader.Command(), "--wait", "0.2", "send_report")
    assert caught.value.returncode == 1
    pod_a.wait_for(lambda: pod_a.gets > 1)  # counted once answered


def test_only_on_leader_refuses_a_bad_wait() -> None:
    with pytest.raises(CommandError, match="expected a number of seconds, got 'soon'"):
        call(only_on_leader.Command(), "--wait", "soon", "send_report")


# --- settings and checks ------------------------------------------------------------


def test_an_unknown_setting_is_refused_by_name() -> None:
    with (
        override_settings(ELECTOR_THREAD={"grace": 3}),
        pytest.raises(
            ConfigurationError, match="ELECTOR_THREAD: unknown settings 'grace'; expected some"
        ),
    ):
        conf.read()


def test_no_dict_is_refused() -> None:
    with (
        override_settings(ELECTOR_THREAD=["scope"]),
        pytest.raises(ConfigurationError, match="ELECTOR_THREAD: expected a dict"),
    ):
        conf.read()


@pytest.mark.parametrize("commands", ["process_tasks", 3])
def test_commands_to_start_in_are_a_list(commands: object) -> None:
    with (
        override_settings(ELECTOR_THREAD={"start_in": commands}),
        pytest.raises(ConfigurationError, match="start_in: expected a list of management commands"),
    ):
        conf.read()


def with_settings(tmp_path: Path, **settings: object) -> dict[str, str]:
    """The environment for the example with another ``ELECTOR_THREAD``."""
    (tmp_path / "other.py").write_text(f"from settings import *\nELECTOR_THREAD = {settings!r}\n")
    return {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "other"}


def test_a_bad_setting_is_refused_in_every_process(tmp_path: Path) -> None:
    done = manage("check", env=environment(with_settings(tmp_path, grace_period=-1)))
    assert done.returncode == 1
    assert "ConfigurationError: grace_period: expected a positive" in done.stderr


def test_an_unconfigured_project_can_be_checked_but_not_served(tmp_path: Path) -> None:
    env = environment(with_settings(tmp_path))
    done = manage("check", env=env)
    assert done.returncode == 0
    assert "(elector_thread.W002) ELECTOR_GET_URL is not set" in done.stderr
    served = manage(env=env, python=("-c", "import wsgi"))
    assert "ConfigurationError: ELECTOR_GET_URL is not set" in served.stderr


def warnings() -> list[str]:
    return [f"{warning.id}: {warning.msg}" for warning in check_elector()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_CONCURRENCY", "4"),
        ("UVICORN_WORKERS", "4"),
        ("GUNICORN_CMD_ARGS", "--bind=:80 --workers=4"),
        ("GUNICORN_CMD_ARGS", "-b :80 -w 4"),
    ],
)
def test_several_workers_with_pod_scope_are_a_warning(
    pod_a: ScriptedServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    [warning] = warnings()
    assert warning.startswith(f"elector_thread.W001: {name} asks for 4 workers")
    monkeypatch.setenv("ELECTOR_THREAD_SCOPE", "process")
    assert warnings() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_CONCURRENCY", "1"),
        ("UVICORN_WORKERS", "many"),
        ("GUNICORN_CMD_ARGS", "--workers"),
        ("GUNICORN_CMD_ARGS", "--access-logformat='unclosed -w 4"),
    ],
)
def test_one_worker_or_an_unreadable_count_is_no_warning(
    pod_a: ScriptedServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert warnings() == []


def test_a_proxy_does_not_matter_without_an_elector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:8080")
    with override_settings(ELECTOR_THREAD={"when_unconfigured": "lead"}):
        assert warnings() == []


def test_a_proxy_on_the_way_to_the_elector_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:8080")
    monkeypatch.setenv("ELECTOR_GET_URL", "http://elector:4040/")
    [warning] = warnings()
    assert warning.startswith("elector_thread.W003: A proxy is set for http")
    monkeypatch.setenv("NO_PROXY", "elector")
    assert warnings() == []


# --- connections, and signals ----------------------------------------------------------


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[str]:
    """What happened, in order: connections closed, and what a test adds."""
    things: queue.Queue[str] = queue.Queue()
    ready = threading.Event()
    ready.set()
    monkeypatch.setattr(apps, "ready_event", ready)
    monkeypatch.setattr(connections, "close_old_connections", lambda: things.put("closed"))
    return things


@pytest.mark.parametrize("register", [on_elected, while_leader])
@pytest.mark.parametrize("when", ["before", "after"])
def test_connections_are_closed_around_what_the_modules_decorators_register(
    happened: queue.Queue[str], register: Callable[[object], object], when: str
) -> None:
    with own_default_elector():
        configure(when_unconfigured="lead")
        if when == "after":
            access.call_within(default_elector(), connections.working_connections)
        register(lambda: happened.put("called"))
        if when == "before":  # the adapter is a later app
            access.call_within(default_elector(), connections.working_connections)
        default_elector().start()
        seen = [happened.get(timeout=PATIENCE) for _ in range(3)]
        assert default_elector().stop()
    assert seen == ["closed", "called", "closed"]
    assert happened.empty()


def test_a_signal_is_leader_only_work_if_it_has_receivers(
    pod_a: ScriptedServer,
    make_elector: MakeElector,
    happened: queue.Queue[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pod_a.leader = "pod-a"
    elector = make_elector()
    signals.connect(elector)
    elected = threading.Event()
    elector.on_leader_change(elected.set)
    elector.start()
    assert elected.wait(PATIENCE)
    assert count_working(resolve(get_url=pod_a.get_url, identity="pod-a")) == 0

    def receiver(**_: object) -> None: ...

    signals.leader_demoted.connect(receiver)
    try:
        pod_a.elect("pod-b")
        until(lambda: count_working(resolve(get_url=pod_a.get_url, identity="pod-a")) == 1)
    finally:
        signals.leader_demoted.disconnect(receiver)


def test_an_exception_of_a_receiver_does_not_affect_the_others(
    pod_a: ScriptedServer, make_elector: MakeElector, happened: queue.Queue[str]
) -> None:
    received: queue.Queue[tuple[str, int]] = queue.Queue()

    def broken(**_: object) -> None:
        raise RuntimeError("a receiver's")

    def elected(leadership: Leadership, **_: object) -> None:
        received.put(("elected", leadership.number))

    def demoted(leadership: Leadership, **_: object) -> None:
        received.put(("demoted", leadership.number))

    for receiver in (broken, elected):
        signals.leader_elected.connect(receiver)
    signals.leader_demoted.connect(demoted)
    try:
        elector = make_elector()
        access.call_within(elector, connections.working_connections)
        signals.connect(elector)
        pod_a.leader = "pod-a"
        elector.start()
        assert received.get(timeout=PATIENCE) == ("elected", 1)
        elector.stop()
        assert received.get(timeout=PATIENCE) == ("demoted", 1)
    finally:
        for receiver in (broken, elected):
            signals.leader_elected.disconnect(receiver)
        signals.leader_demoted.disconnect(demoted)
    assert [happened.get_nowait() for _ in range(4)] == ["closed"] * 4, "before and after each"
    assert happened.empty()

"""The Flask adapter, in the example app and real processes."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Callable

import pytest
from flask import Flask, current_app

from elector_thread import (
    SKIPPED,
    ConfigurationError,
    default_elector,
    on_elected,
    while_leader,
)
from elector_thread._runtime import forks
from elector_thread.integrations import flask as adapter
from elector_thread.integrations.flask import FlaskElector
from elector_thread.local import LocalElector
from elector_thread.testing import own_default_elector

from ..scripted import ScriptedServer
from .replica import EXAMPLES, PATIENCE, SWITCH, Replica, environment, free_port, wait_streams

APP = ("-m", "flask", "--app", "flask_app.py")


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["plain", "debug"])
def test_flask_run_connects_from_the_serving_process_alone(
    local: LocalElector, debug: tuple[str, ...]
) -> None:
    port = free_port()
    env = environment(local.environ)
    with Replica(*APP, *debug, "run", "--port", str(port), env=env, port=port) as replica:
        replica.wait_line("reports is the leader")
        replica.wait_leader("pod-a", True)
        assert replica.get("/report", "POST") == (200, {"report": "sent"})
        wait_streams(local, 1)
        local.elect("pod-b")
        replica.wait_line("reports is no longer the leader", within=SWITCH)
        replica.wait_leader("pod-b", False)
        assert replica.get("/report", "POST") == (200, {"report": "SKIPPED"})
        code, health = replica.get("/elector")
        assert (code, health["state"]) == (200, "follower")
    wait_streams(local, 0)


def test_app_run_in_debug_mode_connects_from_the_serving_child_alone(local: LocalElector) -> None:
    port = free_port()
    env = environment(local.environ, {"PORT": str(port)})
    with Replica("flask_app.py", env=env, port=port) as replica:
        replica.wait_line("reports is the leader")
        replica.wait_leader("pod-a", True)
        wait_streams(local, 1)
    wait_streams(local, 0)


def test_flask_elector_status_asks_once(server: ScriptedServer) -> None:
    server.leader = "pod-b"
    env = environment({"ELECTOR_GET_URL": server.get_url, "ELECTOR_SSE_URL": server.sse_url})
    done = subprocess.run(
        [sys.executable, *APP, "elector", "status"],
        env=env,
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "state:    follower\nleader:   pod-b\nidentity: pod-a\n", done.stderr
    assert (server.stream_requests, len(server.heads)) == (0, 1)


# --- in this process -------------------------------------------------------------------


@pytest.fixture
def pod_a(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The environment of pod-a."""
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
    return server


def make_app(name: str = "app", **settings: object) -> Flask:
    app = Flask(name)
    app.config["ELECTOR_THREAD"] = settings
    return app


def test_callbacks_run_in_the_context_of_their_app(pod_a: ScriptedServer) -> None:
    extension = FlaskElector()
    called: queue.Queue[str] = queue.Queue()
    extension.on_elected(lambda: called.put(f"elected in {current_app.name}"))
    app = make_app("reports")
    extension.init_app(app)
    extension.on_demoted(lambda leadership: called.put(f"demoted in {current_app.name}"))
    pod_a.leader = "pod-a"
    elector = app.extensions["elector_thread"]
    elector.start()
    try:
        assert called.get(timeout=PATIENCE) == "elected in reports"
        assert extension.is_leader
    finally:
        elector.stop()
    assert called.get(timeout=PATIENCE) == "demoted in reports"


@pytest.mark.parametrize("register", [on_elected, while_leader])
def test_callbacks_of_the_modules_decorators_run_in_the_context_of_the_first_app(
    register: Callable[[object], object],
) -> None:
    called: queue.Queue[str] = queue.Queue()
    with own_default_elector():
        register(lambda: called.put(current_app.name))
        FlaskElector(make_app("reports", when_unconfigured="lead"))
        default_elector().start()
        assert called.get(timeout=PATIENCE) == "reports"


def test_making_an_app_connects_nowhere(pod_a: ScriptedServer) -> None:
    FlaskElector(make_app())
    assert pod_a.connections == 0


def test_the_first_request_starts(pod_a: ScriptedServer) -> None:
    app = make_app()
    extension = FlaskElector(app)
    app.add_url_rule("/", view_func=extension.health)
    try:
        assert app.test_client().get("/").json["running"]
    finally:
        extension.elector.stop()


def test_a_request_in_a_test_does_not_start(pod_a: ScriptedServer) -> None:
    app = make_app()
    app.testing = True
    extension = FlaskElector(app)
    app.add_url_rule("/", view_func=lambda: "a page")
    assert app.test_client().get("/").text == "a page"
    assert repr(extension.elector) == "<Elector, settings not read yet>"
    assert pod_a.connections == 0


def test_the_guard_asks_the_current_app() -> None:
    extension = FlaskElector()
    leads, follows = make_app(when_unconfigured="lead"), make_app(when_unconfigured="follow")
    extension.init_app(leads)
    extension.init_app(follows)
    guarded = extension.only_on_leader(lambda: "ran")
    try:
        with leads.app_context():
            assert guarded() == "ran"
        with follows.app_context():
            assert guarded() is SKIPPED
    finally:
        for app in (leads, follows):
            app.extensions["elector_thread"].stop()


def test_bad_settings_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r'app\.config\["ELECTOR_THREAD"\]: unknown'):
        FlaskElector(make_app(grace=1))
    with pytest.raises(ConfigurationError, match="grace_period"):
        FlaskElector(make_app(grace_period=-1))
    with pytest.raises(TypeError, match="on_elected"):
        FlaskElector().on_elected(lambda one, two: None)


def test_an_unconfigured_app_can_be_made_but_not_asked() -> None:
    app = make_app()
    extension = FlaskElector(app)
    with app.app_context(), pytest.raises(ConfigurationError, match="ELECTOR_GET_URL is not set"):
        _ = extension.is_leader
    result = app.test_cli_runner().invoke(args=["elector", "status"])
    assert result.exit_code == 2
    assert "ELECTOR_GET_URL is not set" in result.output


def test_a_bad_address_is_an_error_when_the_app_is_made() -> None:
    with pytest.raises(ConfigurationError, match="get_url"):
        FlaskElector(make_app(get_url="nonsense"))


@pytest.mark.parametrize(
    ("leader", "says"),
    [
        ("pod-a", "leader:   pod-a (this pod)"),
        (None, "No election has taken place yet."),
    ],
)
def test_elector_status_in_words(pod_a: ScriptedServer, leader: str | None, says: str) -> None:
    pod_a.leader = leader
    app = make_app()
    FlaskElector(app)
    result = app.test_cli_runner().invoke(args=["elector", "status"])
    assert result.exit_code == 0
    assert says in result.output


def test_elector_status_without_an_answer_is_one_line(pod_a: ScriptedServer) -> None:
    pod_a.close()
    app = make_app()
    FlaskElector(app)
    result = app.test_cli_runner().invoke(args=["elector", "status"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no answer from")
    assert result.output.count("\n") == 1


def test_a_master_that_preloads_leaves_it_to_its_workers(
    pod_a: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod_a.leader = "pod-a"
    monkeypatch.setattr(adapter, "loaders", lambda: frozenset({"gunicorn.arbiter"}))
    app = make_app()
    extension = FlaskElector(app)
    try:
        assert not extension.status().running
        assert pod_a.connections == 0
        forks.let_go()  # as in a worker
        assert extension.elector.wait_until_leader(PATIENCE)
    finally:
        forks.let_go()
        extension.elector.stop()


def test_without_an_app_there_is_no_elector() -> None:
    with pytest.raises(RuntimeError, match="call init_app"):
        _ = FlaskElector().elector

"""Django, in real processes: wherever the adapter stands, and wherever callbacks are registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elector_thread.local import LocalElector

from ..polling import until
from ..scripted import ScriptedServer
from .registering_project import ADAPTER, EVERYWHERE, make_project
from .replica import PATIENCE, Replica, environment, free_port, wait_streams

PLACES = {"first": f"{ADAPTER} jobs", "last": f"jobs {ADAPTER}"}
LINE = "from elector_thread.integrations.gunicorn import post_worker_init, worker_exit"

each_place = pytest.mark.parametrize("apps", PLACES.values(), ids=PLACES)
not_serving = pytest.mark.parametrize(
    "arguments", [("check",), ("migrate",), ("test",), ("showmigrations",)], ids=" ".join
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def settings(apps: str) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "settings", "INSTALLED_APPS": apps}


def manage(project: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def called(output: str) -> list[str]:
    """The callbacks that ran."""
    return [line for line in output.splitlines() if line.endswith(" runs")]


# --- processes that serve ------------------------------------------------------------------


@pytest.mark.parametrize("server", ["runserver", "runserver --noreload", "gunicorn"])
@each_place
def test_a_serving_process_calls_what_was_registered_anywhere(
    local: LocalElector, project: Path, apps: str, server: str
) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = ["manage.py", *server.split(), address]
    if server == "gunicorn":
        command = ["-m", "gunicorn", "-b", address, "wsgi"]
    env = environment(local.environ, settings(apps))
    with Replica(*command, env=env, port=port, cwd=project) as replica:
        replica.get()  # imports the views
        for line in EVERYWHERE:
            replica.wait_line(line)
        assert sorted(called(replica.output)) == sorted(EVERYWHERE)
        wait_streams(local, 1)
        # each has used the database, and has ended
        until(lambda: replica.get()[1]["closed"] == len(EVERYWHERE), "closed connections")


@each_place
@pytest.mark.parametrize("command", ["starts", "consume"])
def test_a_command_that_starts_the_elector_runs_callbacks(
    server: ScriptedServer, project: Path, apps: str, command: str
) -> None:
    """By itself, or because it is listed in ``start_in``."""
    server.leader = "pod-a"
    env = environment({"ELECTOR_GET_URL": server.get_url}, settings(apps))
    done = manage(project, env, "manage.py", command)
    assert done.returncode == 0, done.stderr
    assert sorted(called(done.stdout)) == sorted(EVERYWHERE)


# --- management commands ---------------------------------------------------------------------


@each_place
@not_serving
def test_a_command_runs_no_callbacks_and_does_not_connect(
    server: ScriptedServer, project: Path, apps: str, arguments: tuple[str, ...]
) -> None:
    server.leader = "pod-a"
    env = environment({"ELECTOR_GET_URL": server.get_url}, settings(apps))
    done = manage(project, env, "manage.py", *arguments)
    assert (done.returncode, called(done.stdout)) == (0, []), done.stderr
    assert server.connections == 0


@each_place
def test_a_guard_in_a_command_answers_and_runs_no_callbacks(
    server: ScriptedServer, project: Path, apps: str
) -> None:
    server.leader = "pod-a"
    env = environment({"ELECTOR_GET_URL": server.get_url}, settings(apps))
    done = manage(project, env, "manage.py", "guarded")
    assert (done.returncode, done.stdout) == (0, "the guard: ran\n"), done.stderr


# --- without an elector --------------------------------------------------------------------


@each_place
@not_serving
def test_a_command_needs_no_elector(project: Path, apps: str, arguments: tuple[str, ...]) -> None:
    done = manage(project, environment(settings(apps)), "manage.py", *arguments)
    assert (done.returncode, called(done.stdout)) == (0, []), done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "runserver", "--noreload", "127.0.0.1:0"),
        ("manage.py", "consume"),
        ("manage.py", "guarded"),
        ("-m", "gunicorn", "-b", "127.0.0.1:0", "wsgi"),
        ("-m", "gunicorn", "--preload", "-b", "127.0.0.1:0", "wsgi"),
    ],
    ids=" ".join,
)
@each_place
def test_where_one_is_needed_the_error_names_the_setting(
    project: Path, apps: str, command: tuple[str, ...]
) -> None:
    done = manage(project, environment(settings(apps)), *command)
    assert done.returncode != 0
    assert "ConfigurationError: ELECTOR_GET_URL is not set" in done.stderr


# --- gunicorn --preload ------------------------------------------------------------------------


def preloading(project: Path, local: LocalElector, *more: str) -> Replica:
    port = free_port()
    command = ("-m", "gunicorn", "--preload", *more, "-b", f"127.0.0.1:{port}", "wsgi")
    env = environment(local.environ, settings(PLACES["last"]))
    return Replica(*command, env=env, port=port, cwd=project)


def test_without_the_hook_the_log_names_the_line_that_starts_the_workers(
    local: LocalElector, project: Path
) -> None:
    with preloading(project, local) as replica:
        replica.wait_line(
            "this process only forks workers; the elector starts in each worker at its first "
            f"request; to start it with the worker, add this line to gunicorn.conf.py: {LINE}"
        )
        replica.get()
        replica.wait_line("on_elected of ready runs")
        assert called(replica.output), "in the worker"
        wait_streams(local, 1)


def test_with_the_hook_a_worker_starts_at_once_and_the_log_says_so(
    local: LocalElector, project: Path
) -> None:
    assert LINE in (project / "gunicorn_hooks.py").read_text()
    with preloading(project, local, "-c", "gunicorn_hooks.py") as replica:
        replica.wait_line("only forks workers; the elector starts in each worker at its start\n")
        replica.wait_line("on_elected of ready runs")  # without a request
        wait_streams(local, 1)


def test_two_workers_with_callbacks_are_noticed(
    local: LocalElector, project: Path, tmp_path: Path
) -> None:
    warning = "another process of this pod runs leader-only work as well"
    hooks = ("-c", "gunicorn_hooks.py", "--workers", "2")
    with preloading(project, local, *hooks) as replica:
        replica.wait_line("on_elected of ready runs", count=2)
        replica.wait_line(warning)
        assert replica.printed(warning) == 1
        env = environment(local.environ, settings(PLACES["last"]))
        checked = manage(project, env, "manage.py", "check")
        assert "(elector_thread.W001) 2 processes of this pod have callbacks" in checked.stderr

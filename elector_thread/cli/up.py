"""``elector-thread up``: a local elector, and replicas of any command beside it.

Owns the command's arguments and what it prints at start; the processes are
`elector_thread.supervisor`'s, the answers `elector_thread.local`'s.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Annotated, Any, NoReturn

import typer

from ..local import LocalElector
from ..supervisor import (
    ENDING_SIGNALS,
    CommandFailed,
    Deployment,
    Guardian,
    Output,
    Plan,
    is_app_name,
    name_width,
)
from . import console

__all__ = ["register"]

DEFAULT_PORT = 4040
MOST_REPLICAS = 50
COMMAND_HELP = "The command to run, after --, with its arguments."


def register(app: typer.Typer) -> None:
    """Add ``up`` to the command line."""
    # Options end where the command begins, so that its own options stay its own.
    app.command("up", context_settings={"allow_interspersed_args": False})(up)


def up(
    command: Annotated[list[str] | None, typer.Argument(help=COMMAND_HELP)] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", "-n", help="How many copies to run (3).")
    ] = None,
    port: Annotated[
        int, typer.Option(help="Where the elector answers; 0 takes a free port.")
    ] = DEFAULT_PORT,
    name: Annotated[str, typer.Option(help="What the replicas' names begin with.")] = "app",
    restart: Annotated[
        bool, typer.Option("--restart", help="Replace a replica that ends, with back-off.")
    ] = False,
    rolling: Annotated[
        float | None,
        typer.Option(help="Replace the oldest replica every so many seconds, as a rollout does."),
    ] = None,
    grace: Annotated[float, typer.Option(help="Seconds between SIGTERM and SIGKILL.")] = 5.0,
) -> None:
    """Start a local elector and replicas of a command, as the platform would.

    Without a command: the elector alone, with this host as the leader.
    """
    _check_number("--port", port, 0, 65535)
    _check_number("--grace", grace, 0, 3600)
    if not command:
        if replicas is not None or restart or rolling is not None:
            _refuse("--replicas, --restart and --rolling need a command: elector-thread up -- ...")
        raise typer.Exit(_serve_alone(port))
    plan = Plan(
        command=command,
        app=name,
        replicas=3 if replicas is None else replicas,
        restart=restart,
        rolling=rolling,
        grace=grace,
    )
    _check(plan)
    raise typer.Exit(_run(plan, port))


def _check(plan: Plan) -> None:
    _check_number("--replicas", plan.replicas, 1, MOST_REPLICAS)
    if plan.rolling is not None:
        _check_number("--rolling", plan.rolling, 0.1, 86400)
    if not is_app_name(plan.app):
        _refuse(f"--name: expected lower-case letters, digits and dashes, got {plan.app!r}")
    program = plan.command[0]
    if shutil.which(program) is None:
        _refuse(f"cannot run {program!r}: no such program, or it may not be executed")


def _check_number(option: str, value: float, least: float, most: float) -> None:
    if not (isfinite(value) and least <= value <= most):
        _refuse(f"{option}: expected {least:g} to {most:g}, got {value:g}")


def _refuse(message: str) -> NoReturn:
    console.complain("up", message)
    raise typer.Exit(console.BAD_USAGE)


@contextmanager
def _elector(port: int) -> Iterator[LocalElector]:
    try:
        elector = LocalElector(port, public=True).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _refuse(f"port {port} is in use; choose another with --port, or any with --port 0")
        _refuse(f"cannot start the elector: {error}")
    try:
        yield elector
    finally:
        elector.stop()


def _run(plan: Plan, port: int) -> int:
    """The elector and the replicas; the exit code."""
    guardian = Guardian()  # forks, so it comes before any thread
    try:
        with _elector(port) as elector, Output(name_width(plan.app)) as output:
            deployment = Deployment(plan, elector, output, guardian)
            elector.set_process_hooks(
                freeze=deployment.freeze, thaw=deployment.thaw, kill=deployment.kill
            )
            output.on_closed = deployment.ask_to_end
            _greet(elector, output)
            return deployment.run()
    except CommandFailed as failure:
        _refuse(str(failure))
    finally:
        guardian.close()


def _greet(elector: LocalElector, output: Output) -> None:
    """Say where everything is, and from now on who leads."""
    output.say(f"the elector answers at {elector.get_url}")
    output.say(f"its page: {elector.ui_url}")
    elector.follow(lambda entry: _tell(entry, output))


def _tell(entry: Mapping[str, Any], output: Output) -> None:
    """One thing that happened to the elector, if it is worth a line."""
    whom = entry.get("replica") or "everybody"
    match entry["what"]:
        case "truth":
            output.say(f"{entry['leader']} leads" if entry["leader"] else "nobody leads")
        case "fault":
            output.note(f"fault on purpose: {entry['fault']}, {whom}")
        case "cleared":
            output.note(f"fault is over: {entry['fault']}, {whom}")


def _serve_alone(port: int) -> int:
    """The elector, and nobody beside it, until a signal; the exit code."""
    # Blocked, so that they wait for `sigwait` and the elector is ended in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    with _elector(port) as elector, Output() as output:
        output.on_closed = lambda: os.kill(os.getpid(), signal.SIGTERM)
        _greet(elector, output)
        elector.elect(socket.gethostname())
        return 128 + signal.sigwait(ENDING_SIGNALS)

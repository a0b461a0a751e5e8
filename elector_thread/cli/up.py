"""``up``: a local elector, and replicas of any command beside it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..local import LocalElector
from ..local.output import Output
from ..local.plan import Plan, is_app_name, name_width
from ..local.replicas import ENDING_SIGNALS, Deployment
from ..local.watchdog import Watchdog
from .terminal import UsageError

__all__ = ["up"]

DEFAULT_REPLICAS = 3


def up(options: Namespace, command: list[str]) -> int:
    """Run the elector, and replicas unless ``command`` is empty; the exit code.

    options: as parsed from the command line. Raises `UsageError`.
    """
    if command:
        return _run_replicas(_plan(options, command), options.port, verify=options.verify)
    if options.replicas is not None or options.restart or options.rolling or options.verify:
        raise UsageError(
            "--replicas, --restart, --rolling and --verify need a command: "
            "elector-thread up -- COMMAND"
        )
    return _run_alone(options.port)


def _plan(options: Namespace, command: list[str]) -> Plan:
    if not is_app_name(options.name):
        raise UsageError(
            f"--name: expected lower-case letters, digits and dashes, got {options.name!r}"
        )
    if shutil.which(command[0]) is None:
        raise UsageError(f"cannot run {command[0]!r}: command not found, or not executable")
    return Plan(
        command=command,
        app=options.name,
        replicas=DEFAULT_REPLICAS if options.replicas is None else options.replicas,
        restart=options.restart,
        rolling=options.rolling,
        grace=options.grace,
    )


@contextmanager
def _elector(port: int, *, verify: bool = False) -> Iterator[LocalElector]:
    try:
        elector = LocalElector(port, public=True, verify=verify).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} is in use; choose another with --port, or --port 0 for any free port"
            ) from None
        raise UsageError(f"cannot start the elector: {error}") from None
    try:
        yield elector
    finally:
        elector.stop()


def _run_replicas(plan: Plan, port: int, *, verify: bool) -> int:
    watchdog = Watchdog()  # forks, so it comes before any thread
    try:
        with _elector(port, verify=verify) as elector:
            output = Output(name_width(plan.app), on_closed=_end_like_sigterm)
            deployment = Deployment(plan, elector, output, watchdog)
            elector.set_process_hooks(
                freeze=deployment.freeze, thaw=deployment.thaw, kill=deployment.kill
            )
            _announce(elector, output)
            return deployment.run()
    finally:
        watchdog.close()


def _run_alone(port: int) -> int:
    """Run the elector without replicas until a signal arrives; the exit code."""
    # Blocked, so that they wait for `sigwait` and the elector is stopped in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    with _elector(port) as elector, Output(on_closed=_end_like_sigterm) as output:
        _announce(elector, output)
        output.say(f"its Lease: {elector.lease_url}")
        elector.elect(socket.gethostname())
        return 128 + signal.sigwait(ENDING_SIGNALS)


def _end_like_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(elector: LocalElector, output: Output) -> None:
    """Print the addresses and, from now on, each new leader."""
    output.say(f"the elector answers at {elector.get_url}")
    output.say(f"its page: {elector.ui_url}")
    elector.follow(lambda entry: _print_entry(entry, output))


def _print_entry(entry: Mapping[str, Any], output: Output) -> None:
    target = entry.get("replica") or "all replicas"
    match entry["what"]:
        case "truth":
            output.say(_describe_election(entry))
        case "fault":
            output.note(f"fault injected: {entry['fault']}, {target}")
        case "cleared":
            output.note(f"fault ended: {entry['fault']}, {target}")


def _describe_election(entry: Mapping[str, Any]) -> str:
    if entry["leader"] is None:
        return "no leader"
    leads = f"{entry['leader']} leads"
    outgoing = entry["outgoing"]
    if outgoing is None:
        return leads
    if entry["isolated"]:
        return f"{leads}; {outgoing} is isolated and does not know"
    # Two processes: the order of what they print is not known.
    return f"{leads}; {outgoing} may learn of it a moment later"

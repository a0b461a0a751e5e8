"""Parses the arguments and runs the command, importing its module only then."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec

from . import parser, terminal
from .terminal import UsageError

__all__ = ["run"]

EXTRA_PACKAGES = ("h11", "starlette", "uvicorn")


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; its exit code. Raises `UsageError`."""
    ours, program = _split(arguments)
    _check_command_name(ours)
    command_line = parser.build()
    try:
        options, unknown = command_line.parse_known_args(ours)
    except SystemExit as end:  # after --help and --version
        return int(end.code or 0)
    name = options.command
    if unknown:  # argparse would not name the command
        options.parser.refuse(unknown)
    if name is None:
        command_line.print_help(sys.stderr)
        return terminal.BAD_USAGE
    if program is not None and name not in ("run", "up"):
        raise UsageError("expected nothing after '--'")
    undashed = getattr(options, "undashed", [])
    if undashed:
        start = len(ours) - len(undashed)
        meant = shlex.join(["elector-thread", *arguments[:start], "--", *arguments[start:]])
        raise UsageError(f"put '--' before the command: {meant}")
    return _run_command(options, program or [])


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Our own arguments, and the command after the first ``--``; None without ``--``."""
    if "--" not in arguments:
        return list(arguments), None
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _check_command_name(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0].startswith("-") or arguments[0] in parser.COMMANDS:
        return
    similar = get_close_matches(arguments[0], parser.COMMANDS, 1)
    known = ", ".join(parser.COMMANDS)
    hint = f"did you mean {similar[0]!r}?" if similar else f"expected one of {known}"
    raise UsageError(f"unknown command {arguments[0]!r}; {hint}")


def _run_command(options: Namespace, program: list[str]) -> int:
    match options.command:
        case "status":
            from .app import app_url
            from .status import status

            return status(as_json=options.json, app=app_url(options.app))
        case "is-leader":
            from .status import is_leader

            return is_leader(verbose=options.verbose)
        case "watch":
            from .watch import watch

            return watch(as_json=options.json)
        case "doctor":
            from .app import app_url
            from .doctor import doctor

            return doctor(as_json=options.json, app=app_url(options.app))
        case "run":
            return _run(options, program)
        case local:
            return _run_local(local, options, program)


def _run(options: Namespace, program: list[str]) -> int:
    if not program:
        options.parser.error("expected a command after '--'")
    from .run import run as run_program

    return run_program(
        program,
        wait=options.wait,
        grace=options.grace,
        restart=options.restart,
        quiet=options.quiet,
    )


def _run_local(command: str, options: Namespace, program: list[str]) -> int:
    missing = [name for name in EXTRA_PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"needs {', '.join(missing)}: pip install '{parser.EXTRA}'")
    if command == "up":
        from .up import up

        return up(options, program)
    from .faults import elect, fault

    if command == "elect":
        return elect(options.name)
    return fault(
        options.kind,
        replica=options.replica,
        seconds=options.seconds,
        clear=options.clear,
        show=options.list,
    )

"""The parser of the commands that work in a bare install. Thin: each command has a module.

Fast on purpose, since cron starts it every minute: argparse alone, and a command's
own module is imported when it is that command's turn.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NoReturn

from .._version import __version__
from . import console

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["EXTRA", "LAPTOP", "main"]

EXTRA = "elector-thread[cli]"

LAPTOP = {
    "up": "start a local elector and N replicas of a command",
    "elect": "make a replica the leader",
    "fault": "break something on purpose",
}
"""The commands of the extra, which `elector_thread.cli.full` owns; here for the help alone."""

COMMANDS = {
    "status": "ask once and show who leads",
    "is-leader": "ask once; the exit code is the answer",
    "watch": "show every change until Ctrl-C",
    "run": "run a command only while leading",
    "doctor": "find out what is wrong, and what mends it",
}
"""The commands of this module."""

RUN_USAGE = (
    "elector-thread run [--grace SECONDS] [--no-restart] [--quiet] -- COMMAND [ARGUMENT ...]"
)


def main(arguments: Sequence[str]) -> int:
    """Parse and run; the exit code."""
    ours, command = _split(arguments)
    if ours and not ours[0].startswith("-") and ours[0] not in COMMANDS:
        known = ", ".join([*COMMANDS, *LAPTOP])
        console.complain("", f"there is no command {ours[0]!r}; there are {known}")
        return console.BAD_USAGE
    parser = _parser()
    try:
        given, unknown = parser.parse_known_args(ours)
    except SystemExit as end:  # after --help and --version, and after what was wrong
        return int(end.code or 0)
    if unknown:  # told here, since the parser itself would name no command
        program = f"elector-thread {given.command or ''}".strip()
        return _refuse(program, f"unrecognized arguments: {' '.join(unknown)}")
    if command is not None and given.command != "run":
        console.complain(given.command or "", "expected nothing after '--'")
        return console.BAD_USAGE
    if given.command is None:
        parser.print_help(sys.stderr)
        return console.BAD_USAGE
    if given.command == "run" and given.undashed:
        return _refuse_undashed(arguments, at=len(ours) - len(given.undashed))
    return _run(given, command or [])


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Ours, and what follows the first ``--``: somebody else's command, not to be parsed."""
    if "--" not in arguments:
        return list(arguments), None
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _refuse(program: str, problem: str) -> int:
    """Tell what is wrong with a command's words, and where they are explained."""
    console.complain(
        program.removeprefix("elector-thread").strip(), f"{problem}; see {program} --help"
    )
    return console.BAD_USAGE


def _refuse_undashed(arguments: Sequence[str], at: int) -> int:
    """``run`` without ``--`` before its command, which begins at ``at``."""
    meant = shlex.join(["elector-thread", *arguments[:at], "--", *arguments[at:]])
    console.complain("run", f"put '--' before the command: {meant}")
    return console.BAD_USAGE


def _run(given: argparse.Namespace, command: list[str]) -> int:
    """Hand over to the command's own module."""
    if given.command == "status":
        from .status import status

        return status(as_json=given.json)
    if given.command == "is-leader":
        from .status import is_leader

        return is_leader(verbose=given.verbose)
    if given.command == "watch":
        from .watch import watch

        return watch(as_json=given.json)
    if given.command == "doctor":
        from .doctor import doctor

        return doctor(as_json=given.json)
    if not command:
        console.complain("run", f"expected a command after '--': {RUN_USAGE}")
        return console.BAD_USAGE
    from .run import run

    return run(command, grace=given.grace, restart=given.restart, quiet=given.quiet)


class _Parser(argparse.ArgumentParser):
    """argparse with one clear line for what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_refuse(self.prog, message))

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """As any other output; argparse itself would not tell that it cannot be written."""
        if file is sys.stderr:
            super()._print_message(message, file)
        else:
            console.say(message.rstrip("\n"))


def _parser() -> _Parser:
    parser = _Parser(
        prog="elector-thread",
        description="Who leads, and what only the leader may run.",
        usage="elector-thread COMMAND [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_epilog(),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"elector-thread {__version__}")
    commands = parser.add_subparsers(
        dest="command", prog="elector-thread", help=argparse.SUPPRESS, parser_class=_Parser
    )
    _add_status(commands)
    _add_is_leader(commands)
    _add_watch(commands)
    _add_run(commands)
    _add_doctor(commands)
    return parser


def _epilog() -> str:
    return "\n".join(
        [
            "in the pod:",
            *_listed(COMMANDS),
            "",
            f"on your machine (pip install '{EXTRA}'):",
            *_listed(LAPTOP),
            "",
            "Settings come from the environment, as for the library: the platform's",
            "ELECTOR_GET_URL and ELECTOR_SSE_URL, and ELECTOR_THREAD_IDENTITY and so on.",
        ]
    )


def _listed(commands: Mapping[str, str]) -> list[str]:
    return [f"    {name:<12}{text}" for name, text in commands.items()]


Commands = argparse._SubParsersAction  # argparse has no public name for what it hands out


def _add(commands: Commands[_Parser], name: str, more: str) -> _Parser:
    return commands.add_parser(
        name,
        description=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_json(parser: _Parser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=what)


def _add_status(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "status",
        "Ask the elector once and show who leads.\n\n"
        "exit code: 0 the elector answered, 2 it did not",
    )
    _add_json(parser, "one JSON object: the fields of Status.as_dict()")


def _add_is_leader(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "is-leader",
        "Ask the elector once, with a single GET: elector-thread is-leader && ./job\n\n"
        "exit code: 0 leader, 1 follower, 2 unknown (why: on stderr)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print leader, follower or unknown as well"
    )


def _add_watch(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "watch",
        "Show who leads, live: a table on a terminal (with the extra), else a line per change.\n\n"
        "exit code: 130 after Ctrl-C, 141 when nobody reads any more",
    )
    _add_json(parser, "one JSON object a line, also on a terminal")


def _add_run(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "run",
        "Run a command only while leading, and never twice:\n"
        "elector-thread run -- celery -A app beat\n\n"
        "exit code: the command's own, 128+n if signal n ended it; 127 not found, 126 cannot\n"
        "be run. A command that ends with 0 is done, and ends this too.",
    )
    parser.usage = RUN_USAGE
    parser.add_argument(
        "--grace",
        type=_grace,
        default=10.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when the leadership is over (10)",
    )
    parser.add_argument(
        "--no-restart",
        dest="restart",
        action="store_false",
        help="end with the command's exit code when it fails, instead of starting it again",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing about the command")
    # not for use: whatever stands here should have stood behind the dashes
    parser.add_argument("undashed", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _add_doctor(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "doctor",
        "Check environment, identity, endpoints, proxies and worker counts.\n\n"
        "exit code: 0 all is well, 1 something to mend",
    )
    _add_json(parser, "one JSON object")


def _grace(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or not 0 <= seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds

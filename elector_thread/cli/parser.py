"""The arguments and the help of all commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import inf, nan
from typing import TYPE_CHECKING, NoReturn

from .._version import __version__
from . import terminal
from .terminal import UsageError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["COMMANDS", "EXTRA", "build"]

POD_COMMANDS = {
    "status": "ask the elector once and show who is the leader",
    "is-leader": "ask the elector once; the exit code is the answer",
    "watch": "show every change until Ctrl-C",
    "run": "run a command only while this pod is the leader",
    "doctor": "find configuration problems and suggest remedies",
}
LOCAL_COMMANDS = {
    "up": "start a local elector and replicas of a command",
    "elect": "choose the leader of a local elector",
    "fault": "inject a fault into a local elector",
}
COMMANDS = {**POD_COMMANDS, **LOCAL_COMMANDS}

EXTRA = "elector-thread[cli]"

DEFAULT_PORT = 4040
MAX_REPLICAS = 50
DAY = 86400


class _Parser(argparse.ArgumentParser):
    """Reports errors as `UsageError`, and prints help like any other output."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Report arguments that the command does not have, and the option that may be meant."""
        options = [name for action in self._actions for name in action.option_strings]
        names = [text.partition("=")[0] for text in unknown if text.startswith("-")]
        similar = [match for name in names for match in get_close_matches(name, options, 1, 0.7)]
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if file is sys.stderr:
            super()._print_message(message, file)
        else:  # argparse itself would ignore that the output cannot be written
            terminal.print_line(message.rstrip("\n"))


Commands = argparse._SubParsersAction  # argparse has no public name for it


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="elector-thread",
        description="Show who is the leader, and run commands only on the leader.",
        usage="elector-thread COMMAND [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_command_list(),
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action="version", version=f"elector-thread {__version__}")
    commands = parser.add_subparsers(
        dest="command", prog="elector-thread", help=argparse.SUPPRESS, parser_class=_Parser
    )
    for add in (_add_queries, _add_run, _add_up, _add_steering):
        add(commands)
    return parser


def _command_list() -> str:
    return "\n".join(
        [
            "in the pod:",
            *_listed(POD_COMMANDS),
            "",
            f"on your machine (pip install '{EXTRA}'):",
            *_listed(LOCAL_COMMANDS),
            "",
            "Settings come from the environment, as for the library. The platform sets",
            "ELECTOR_GET_URL and ELECTOR_SSE_URL; your own are ELECTOR_THREAD_IDENTITY etc.",
        ]
    )


def _listed(commands: Mapping[str, str]) -> list[str]:
    return [f"    {name:<12}{summary}" for name, summary in commands.items()]


def _add(
    commands: Commands[_Parser], name: str, description: str, usage: str | None = None
) -> _Parser:
    parser = commands.add_parser(
        name,
        description=description,
        usage=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    return parser


def _add_queries(commands: Commands[_Parser]) -> None:
    status = _add(
        commands,
        "status",
        "Ask the elector once and show who is the leader.\n\n"
        "exit code: 0 the elector answered, 2 it did not, 78 a setting is missing or wrong",
    )
    status.add_argument(
        "--json", action="store_true", help="print one JSON object: Status.as_dict()"
    )
    _accept_app(status, "show what the running application says, with its past leaderships")
    is_leader = _add(
        commands,
        "is-leader",
        "Ask the elector once, with a single GET: elector-thread is-leader && ./job\n\n"
        "exit code: 0 leader, 1 follower, 2 unknown (the reason is on stderr), 78 a setting is\n"
        "missing or wrong",
    )
    is_leader.add_argument(
        "-v", "--verbose", action="store_true", help="also print leader, follower or unknown"
    )
    watch = _add(
        commands,
        "watch",
        "Show who is the leader, live: a table on a terminal (with the extra), otherwise one\n"
        "line per change.\n\n"
        "exit code: 130 after Ctrl-C, 141 when the reader of the output is gone, 78 a setting is\n"
        "missing or wrong",
    )
    watch.add_argument("--json", action="store_true", help="print one JSON object per change")
    doctor = _add(
        commands,
        "doctor",
        "Check the environment, identity, endpoints, proxies and number of workers.\n\n"
        "exit code: 0 no problems, 1 problems were found",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    _accept_app(doctor, "also check the running application, with its tasks and leaderships")


def _accept_app(parser: _Parser, purpose: str) -> None:
    parser.add_argument(
        "--app",
        metavar="URL",
        help=f"{purpose}: the address of its health view (ELECTOR_THREAD_APP_URL)",
    )


def _add_run(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "run",
        "Run a command only while this pod is the leader, and at most one copy of it:\n"
        "elector-thread run -- celery -A app beat\n\n"
        "exit code: the command's own, or 128+n if signal n ended it; 127 command not found,\n"
        "126 command not executable; 75 not the leader within --wait seconds; 78 a setting is\n"
        "missing or wrong. A command that exits with 0 has finished, and ends run.",
        usage="elector-thread run [--wait SECONDS] [--grace SECONDS] [--no-restart] [--quiet] "
        "-- COMMAND [ARGUMENT ...]",
    )
    parser.add_argument(
        "--wait",
        type=_number(0, 1_000_000),
        default=inf,
        metavar="SECONDS",
        help="give up if this pod is not the leader after this time (default: wait forever)",
    )
    parser.add_argument(
        "--grace",
        type=_number(0, 1_000_000),
        default=10.0,
        metavar="SECONDS",
        help="time from SIGTERM to SIGKILL after leadership is lost (10)",
    )
    parser.add_argument(
        "--no-restart",
        dest="restart",
        action="store_false",
        help="exit with the command's exit code when it fails, instead of restarting it",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="do not print when the command starts and ends"
    )
    _accept_undashed(parser)


def _add_up(commands: Commands[_Parser]) -> None:
    parser = _add(
        commands,
        "up",
        "Start a local elector and replicas of a command, as the platform would. Without a\n"
        "command: only the elector, with this host as the leader.\n\n"
        "Each replica has a free port of its own in PORT.\n\n"
        "exit code: 0 all replicas exited with 0, 1 one of them did not, 128+n after signal n",
        usage="elector-thread up [OPTION ...] [-- COMMAND [ARGUMENT ...]]",
    )
    parser.add_argument(
        "-n",
        "--replicas",
        type=_number(1, MAX_REPLICAS, int),
        metavar="N",
        help=f"number of replicas, at most {MAX_REPLICAS} (3)",
    )
    parser.add_argument(
        "--port",
        type=_number(0, 65535, int),
        default=DEFAULT_PORT,
        help=f"port of the elector; 0 takes a free port ({DEFAULT_PORT})",
    )
    parser.add_argument("--name", default="app", help="prefix of the replicas' names (app)")
    parser.add_argument(
        "--restart", action="store_true", help="replace a replica that ends, with back-off"
    )
    parser.add_argument(
        "--rolling",
        type=_number(0.1, DAY),
        metavar="SECONDS",
        help="replace the oldest replica at this interval, as a rolling update does",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="replicas also verify by the Lease that they lead (ELECTOR_THREAD_VERIFY=lease)",
    )
    parser.add_argument(
        "--grace",
        type=_number(0, 3600),
        default=5.0,
        metavar="SECONDS",
        help="time from SIGTERM to SIGKILL (5)",
    )
    _accept_undashed(parser)


def _add_steering(commands: Commands[_Parser]) -> None:
    elect = _add(commands, "elect", "Choose the leader of a local elector.")
    elect.add_argument("name", metavar="NAME", help="the new leader: a replica or any other name")
    fault = _add(commands, "fault", "Inject a fault into a local elector, or clear it.")
    fault.add_argument("kind", metavar="KIND", nargs="?", help="the fault; see --list")
    fault.add_argument("--replica", metavar="NAME", help="only this replica (default: all)")
    fault.add_argument(
        "--seconds", type=float, metavar="SECONDS", help="duration (default: until it is cleared)"
    )
    fault.add_argument(
        "--clear", action="store_true", help="clear all faults, or those of KIND or --replica"
    )
    fault.add_argument(
        "--list", action="store_true", help="list the kinds of fault and the active faults"
    )


def _accept_undashed(parser: _Parser) -> None:
    """Accept a command without ``--`` in front, so that the error can show where it is missing."""
    parser.add_argument("undashed", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _number(
    least: float, most: float, kind: Callable[[str], float] = float
) -> Callable[[str], float]:
    """A converter for argparse that accepts numbers within these bounds."""
    what = "a whole number" if kind is int else "a number"

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = nan
        if least <= value <= most:
            return value
        raise argparse.ArgumentTypeError(
            f"expected {what} from {least:g} to {most:.0f}, got {text!r}"
        )

    return convert

"""What all commands share: output, error messages of one line, exit codes."""

from __future__ import annotations

import sys
from contextlib import suppress

from ..local.output import redirect_to_devnull

__all__ = [
    "BAD_SETTINGS",
    "BAD_USAGE",
    "CLOSED_PIPE",
    "INTERNAL_ERROR",
    "INTERRUPTED",
    "OutputError",
    "UsageError",
    "discard_output",
    "flush",
    "one_line",
    "prepare",
    "print_error",
    "print_line",
    "print_message",
]

BAD_USAGE = 2
"""Invalid arguments, or output that cannot be written."""

BAD_SETTINGS = 78
"""A setting is missing or wrong (EX_CONFIG)."""

INTERNAL_ERROR = 70
"""A bug in the command line itself (EX_SOFTWARE)."""

INTERRUPTED = 130
"""Ended by Ctrl-C: 128 + SIGINT, as in shells."""

CLOSED_PIPE = 141
"""The reader of the output is gone: 128 + SIGPIPE, as for other tools."""


class UsageError(Exception):
    """Arguments that cannot be used. The message is one line for stderr."""


class OutputError(Exception):
    """The output cannot be written, on a full disk for example."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot write the output: {reason}")


def prepare() -> None:
    """Escape characters that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_line(text: str) -> None:
    """Print to stdout without buffering. Raises BrokenPipeError and `OutputError`."""
    if sys.stdout is None:  # was already closed when Python started
        raise OutputError("it is closed")
    try:
        print(text, flush=True)  # noqa: T201 - a command line prints
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(str(error)) from None


def print_message(command: str, text: str) -> None:
    """Print what a command has done, as one line that names it. See `print_line`."""
    print_line(one_line(f"elector-thread {command}: {text}"))


def print_error(command: str, problem: str) -> None:
    """Print one line to stderr. command: the subcommand; an empty string or an option if none."""
    if sys.stderr is None:  # was already closed; print() would use stdout instead
        return
    name = f"elector-thread {command}" if command and command[0] != "-" else "elector-thread"
    with suppress(OSError, ValueError):
        print(f"{one_line(name)}: {one_line(problem)}", file=sys.stderr, flush=True)  # noqa: T201 - see above


def one_line(text: str) -> str:
    """``text`` with line breaks and control characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def flush() -> None:
    """Write what is still buffered, while an error can still change the exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(str(error)) from None


def discard_output() -> None:
    """Prevent the interpreter's exit from reporting output that cannot be written."""
    if sys.stdout is not None:
        redirect_to_devnull(sys.stdout)

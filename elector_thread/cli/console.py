"""What every command needs of a terminal: one clear line on stderr, quiet pipes, exit codes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = [
    "BAD_USAGE",
    "CLOSED_PIPE",
    "INTERNAL_ERROR",
    "INTERRUPTED",
    "OutputError",
    "colourful",
    "complain",
    "flush",
    "one_line",
    "prepare",
    "say",
    "silence",
]

BAD_USAGE = 2
"""Arguments or settings that cannot be used."""

INTERNAL_ERROR = 70
"""A bug of ours (EX_SOFTWARE). Not 1: that would claim "follower"."""

INTERRUPTED = 130
"""Ended by Ctrl-C: 128 + SIGINT, as shells have it."""

CLOSED_PIPE = 141
"""Whoever read our output is gone: 128 + SIGPIPE, as for any other tool."""


class OutputError(Exception):
    """The output cannot be written: a full disk, say. A closed pipe is a BrokenPipeError."""

    def __init__(self, why: str | None) -> None:
        super().__init__(f"cannot write the output: {why}")


def prepare() -> None:
    """Let no character that the terminal cannot show end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """One piece of output, at once: whoever reads it may be waiting for it."""
    if sys.stdout is None:  # closed by whoever started us
        raise OutputError("it is closed")
    try:
        print(text, flush=True)  # noqa: T201 - a command line prints
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(str(error)) from None


def complain(command: str, problem: str) -> None:
    """One line on stderr, for a person."""
    if sys.stderr is None:  # closed by whoever started us; print() would take stdout instead
        return
    name = f"elector-thread {command}" if command and command[0] != "-" else "elector-thread"
    with suppress(OSError, ValueError):
        print(f"{one_line(name)}: {one_line(problem)}", file=sys.stderr, flush=True)  # noqa: T201 - see above


def one_line(text: str) -> str:
    """``text`` without line breaks or control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def flush() -> None:
    """Write what is still buffered, while a failure can still be told from success."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(str(error)) from None


def silence() -> None:
    """Nobody reads any more: let the interpreter's own last flush go nowhere."""
    if sys.stdout is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def colourful(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal whose user wants colour (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()

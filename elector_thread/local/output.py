"""Writes the output of replicas to the terminal: whole lines, each after its replica's name.

Replicas may write anything, such as endless lines or binary data. Memory stays bounded, the
lines of two replicas never mix, and control sequences other than colours are escaped.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import IO, Final, NamedTuple, Self, TextIO

__all__ = ["Output", "has_colours", "redirect_to_devnull"]

OUR_NAME: Final = "elector-thread"
MAX_LINE = 8192
"""Characters after which a line is broken."""
MAX_QUEUED_LINES = 64
"""Lines of one pipe that may wait for the terminal; after that its replica waits."""
FLUSH_TIMEOUT = 2.0
"""Seconds to write the last lines to a terminal that has stopped its output."""
READ_SIZE = 65536

PALETTE = ("36", "33", "35", "32", "34", "96", "93", "95", "92", "94")
ESCAPE = "\033"
RED, BOLD, PLAIN = "\033[31m", "\033[1m", "\033[0m"

_CONTROL = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]*m)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal takes as a command; a change of colour (SGR) is the harmless one."""


class _Line(NamedTuple):
    """``style`` colours its source; ``done`` is called when it was written or dropped."""

    source: str
    style: str
    text: str
    is_error: bool
    done: Callable[[], object]


class Output:
    """Writes lines of replicas and our own lines, in the order in which they arrive.

    width: of the column of names.
    on_closed: called, in the writer's thread, when the reader of our stdout is gone.

    Lines are queued at once, and written by a thread between `__enter__` and `__exit__`. So a
    terminal that has stopped its output (a pager, Ctrl-S) stops the replicas that write,
    but not their supervisor.
    """

    def __init__(self, width: int = 0, on_closed: Callable[[], object] = lambda: None) -> None:
        self._width = max(width, len(OUR_NAME))
        self._on_closed = on_closed
        self._coloured = {True: has_colours(sys.stderr), False: has_colours(sys.stdout)}
        self._palette = cycle(PALETTE)
        self._lines: SimpleQueue[_Line | None] = SimpleQueue()
        self._broken: set[bool] = set()  # streams that failed; used by the writer's thread only
        self._writer = Thread(target=self._write_all, name="elector-output", daemon=True)

    def __enter__(self) -> Self:
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.put(None)
        self._writer.join(FLUSH_TIMEOUT)

    def say(self, text: str) -> None:
        """Write a line of our own to stdout."""
        self._lines.put(_Line(OUR_NAME, BOLD, text, False, _do_nothing))

    def note(self, text: str) -> None:
        """Write a line of our own to stdout if that is a terminal."""
        if sys.stdout is not None and sys.stdout.isatty():
            self.say(text)

    def warn(self, text: str) -> None:
        """Write a line of our own to stderr."""
        self._lines.put(_Line(OUR_NAME, BOLD, text, True, _do_nothing))

    def follow(self, source: str, stdout: IO[bytes], stderr: IO[bytes]) -> list[Thread]:
        """Write the lines from these pipes under the name ``source``, until both are closed.

        Returns the threads that read; they end soon after the last writer has.
        """
        style = f"\033[{next(self._palette)}m"
        threads = [
            Thread(target=self._read, args=args, name=f"elector-output-{source}", daemon=True)
            for args in ((source, style, stdout, False), (source, style, stderr, True))
        ]
        for thread in threads:
            thread.start()
        return threads

    def _read(self, source: str, style: str, pipe: IO[bytes], is_error: bool) -> None:
        room = Semaphore(MAX_QUEUED_LINES)
        with pipe:
            for line in _lines(pipe):
                room.acquire()
                self._lines.put(_Line(source, style, line, is_error, room.release))

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            if line.is_error not in self._broken:
                self._write(line)
            line.done()

    def _write(self, line: _Line) -> None:
        target: TextIO | None = sys.stderr if line.is_error else sys.stdout
        if target is None:  # was already closed when Python started
            return
        try:
            encoding = target.encoding or "utf-8"
            text = self._format(line).encode(encoding, "backslashreplace").decode(encoding)
            target.write(text)
            target.flush()
        except (OSError, ValueError):  # its reader is gone
            self._broken.add(line.is_error)
            redirect_to_devnull(target)
            if not line.is_error:
                self._on_closed()

    def _format(self, line: _Line) -> str:
        mark = "!" if line.is_error else "|"
        if not self._coloured[line.is_error]:
            return f"{line.source:<{self._width}} {mark} {_escape(line.text, colours=False)}\n"
        mark_style = RED if line.is_error else line.style
        text = _escape(line.text, colours=True)
        name = f"{line.style}{line.source:<{self._width}}{PLAIN}"
        return f"{name} {mark_style}{mark}{PLAIN} {text}{PLAIN if ESCAPE in text else ''}\n"


def _lines(pipe: IO[bytes]) -> Iterator[str]:
    """The lines of a pipe, long ones broken; a carriage return also ends a line."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )
    rest = ""
    while chunk := os.read(pipe.fileno(), READ_SIZE):
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in whole:
            yield from _split_long(line)
        *long, rest = _split_long(rest)
        yield from long
    rest += decoder.decode(b"", final=True)
    if rest:
        yield from _split_long(rest.removesuffix("\n"))


def _split_long(line: str) -> list[str]:
    return [line[i : i + MAX_LINE] for i in range(0, len(line), MAX_LINE)] or [""]


def _escape(text: str, *, colours: bool) -> str:
    """The text with control characters escaped, and colours kept or removed."""

    def replace(match: re.Match[str]) -> str:
        if match["sgr"] is None:
            return ascii(match[0])[1:-1]
        return match[0] if colours else ""

    return _CONTROL.sub(replace, text)


def has_colours(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal whose user wants colours (https://no-color.org)."""
    if stream is None:
        return False
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def redirect_to_devnull(stream: TextIO) -> None:
    """Discard what is still buffered, so that the interpreter's exit reports no error."""
    with suppress(OSError, ValueError):  # not a real file
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


def _do_nothing() -> None:
    pass

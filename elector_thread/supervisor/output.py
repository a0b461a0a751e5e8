"""What is on the terminal: whole lines, each with the name of whom it comes from.

Owns our stdout and stderr while replicas run. Replicas write what they like (no
newline, no end, no text at all): memory stays bounded, one cannot break another's
lines, and nothing they write steers the terminal, colours aside.
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

__all__ = ["Output"]

OURSELVES: Final = "elector-thread"
LONGEST_LINE = 8192
"""Characters after which a line is broken."""
LINES_AHEAD = 64
"""Lines of one pipe that may wait for the terminal before its replica has to."""
LAST_LINES = 2.0
"""Seconds for the last lines to reach a terminal that stands still."""
READ_SIZE = 65536

PALETTE = ("36", "33", "35", "32", "34", "96", "93", "95", "92", "94")
ESCAPE = "\033"
RED, BOLD, PLAIN = "\033[31m", "\033[1m", "\033[0m"

_STEERING = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]*m)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal takes as an order; a change of colour (SGR) is the harmless one."""


class _Line(NamedTuple):
    """Something to write. ``done`` is called once it is written, or dropped."""

    source: str
    text: str
    is_error: bool
    done: Callable[[], object]


class Output:
    """Writes the lines of replicas and our own, in the order in which they came.

    width: of the column of names.

    Ends with its ``with`` block, once what is queued is written.

    One thread writes; whoever has something to say only queues it, so that a
    terminal that stands still (a pager, Ctrl-S) stops the replicas that write and
    not the one who supervises them.
    """

    # `_styles` is written by the thread that starts replicas and read by the writer;
    # a single dict operation each.

    on_closed: Callable[[], object] = staticmethod(lambda: None)
    """Called, on a thread of ours, when nobody reads our stdout any more."""

    def __init__(self, width: int = 0) -> None:
        self._width = max(width, len(OURSELVES))
        self._colourful = {True: _has_colours(sys.stderr), False: _has_colours(sys.stdout)}
        self._styles: dict[str, str] = {OURSELVES: BOLD}
        self._palette = cycle(PALETTE)
        self._lines: SimpleQueue[_Line | None] = SimpleQueue()
        self._closed: set[bool] = set()  # the writer's own: which of our streams are broken
        self._writer = Thread(target=self._write_all, name="elector-output", daemon=True)
        self._writer.start()

    def say(self, text: str) -> None:
        """A line of our own that is always of interest."""
        self._lines.put(_Line(OURSELVES, text, False, _nothing))

    def note(self, text: str) -> None:
        """A line of our own for whoever watches a terminal; nothing when piped."""
        if sys.stdout is not None and sys.stdout.isatty():
            self.say(text)

    def warn(self, text: str) -> None:
        """A line of our own about something that went wrong, on stderr."""
        self._lines.put(_Line(OURSELVES, text, True, _nothing))

    def follow(self, source: str, stdout: IO[bytes], stderr: IO[bytes]) -> list[Thread]:
        """Write what comes from these pipes, as ``source``, until they end, and close them.

        Returns the threads that do; they end soon after the last writer has.
        """
        self._styles[source] = f"\033[{next(self._palette)}m"
        threads = [
            Thread(target=self._pump, args=args, name=f"elector-output-{source}", daemon=True)
            for args in ((source, stdout, False), (source, stderr, True))
        ]
        for thread in threads:
            thread.start()
        return threads

    def forget(self, source: str) -> None:
        """No more will come from ``source``."""
        self._styles.pop(source, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.put(None)
        self._writer.join(LAST_LINES)

    def _pump(self, source: str, pipe: IO[bytes], is_error: bool) -> None:
        ahead = Semaphore(LINES_AHEAD)
        with pipe:
            for line in _lines(pipe):
                ahead.acquire()
                self._lines.put(_Line(source, line, is_error, ahead.release))

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            if line.is_error not in self._closed:
                self._write(line)
            line.done()

    def _write(self, line: _Line) -> None:
        target: TextIO | None = sys.stderr if line.is_error else sys.stdout
        if target is None:  # closed by whoever started us, so nobody wants to read it
            return
        try:
            encoding = target.encoding or "utf-8"
            shown = self._shown(line).encode(encoding, "backslashreplace").decode(encoding)
            target.write(shown)
            target.flush()
        except (OSError, ValueError):  # nobody reads it any more
            self._closed.add(line.is_error)
            _divert(target)
            if not line.is_error:
                self.on_closed()

    def _shown(self, line: _Line) -> str:
        mark = "!" if line.is_error else "|"
        if not self._colourful[line.is_error]:
            return f"{line.source:<{self._width}} {mark} {_harmless(line.text, colours=False)}\n"
        style = self._styles.get(line.source, PLAIN)
        mark_style = RED if line.is_error else style
        text = _harmless(line.text, colours=True)
        name = f"{style}{line.source:<{self._width}}{PLAIN}"
        return f"{name} {mark_style}{mark}{PLAIN} {text}{PLAIN if ESCAPE in text else ''}\n"


def _lines(pipe: IO[bytes]) -> Iterator[str]:
    """The lines of a pipe, long ones broken; a carriage return ends a line, too."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )
    rest = ""
    while chunk := os.read(pipe.fileno(), READ_SIZE):
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in whole:
            yield from _broken(line)
        *long, rest = _broken(rest)
        yield from long
    rest += decoder.decode(b"", final=True)
    if rest:
        yield from _broken(rest.removesuffix("\n"))


def _broken(line: str) -> list[str]:
    return [line[i : i + LONGEST_LINE] for i in range(0, len(line), LONGEST_LINE)] or [""]


def _harmless(text: str, *, colours: bool) -> str:
    """The text with orders to the terminal spelt out, and colours kept or left out."""

    def replace(match: re.Match[str]) -> str:
        if match["sgr"] is None:
            return ascii(match[0])[1:-1]
        return match[0] if colours else ""

    return _STEERING.sub(replace, text)


def _has_colours(stream: TextIO | None) -> bool:
    if stream is None:
        return False
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def _divert(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, so that the exit does not complain of it."""
    with suppress(OSError, ValueError):  # not a real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nothing() -> None:
    pass

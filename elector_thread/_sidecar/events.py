"""Parses event streams and JSON answers: bytes to whole events, JSON to a leader's name.

Pure: reads through the function it is given; knows no socket, clock or thread. Everything
that another program sends passes here, so every size is bounded here.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import NoReturn

__all__ = [
    "MAX_BYTES",
    "READ_SIZE",
    "EventBlocks",
    "Malformed",
    "normalise",
    "parse_leader",
    "printable",
]

MAX_BYTES = 64 * 1024
"""The longest event, and the longest GET body, in bytes."""

MAX_BARREN_BYTES = 1024 * 1024
"""The most bytes that a stream may send without a single whole event (comments, say)."""

READ_SIZE = 8192
"""Bytes asked for at a time. Never unbounded: such a read allocates what the other end's
chunk header claims, and 2**40 is a valid claim."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data", b"event", b"id", b"retry")
_JSON_SPACE = " \t\n\r"


class Malformed(ValueError):
    """The input cannot be understood. The message says what was expected and what was found."""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse).raw_decode


def normalise(read1: Callable[[int], bytes]) -> EventBlocks:
    """Turn raw event-stream bytes into blocks that ``sseclient.SSEClient`` reads correctly.

    ``read1(n)`` returns at least one and at most ``n`` bytes as soon as there are
    any, and ``b""`` at the end of the stream.

    sseclient-py alone loses the first event after a byte order mark, fails on
    invalid UTF-8, delivers an event that the connection's end cut short, merges
    events at mixed line ends, and needs unbounded memory for endless input.
    """
    return EventBlocks(read1)


class EventBlocks(Iterator[bytes]):
    """The iterator behind `normalise`: one whole event a step, ``\\n`` line ends, valid UTF-8.

    Owned by the one thread that iterates. Raises `Malformed` when an event, or
    the space between two, is too long.
    """

    def __init__(self, read1: Callable[[int], bytes]) -> None:
        self._read1 = read1
        self._ready: deque[bytes] = deque()
        self._lines: list[bytes] = []  # the complete lines of the event under way
        self._size = 0  # their bytes
        self._rest = b""  # the line under way
        self._barren = 0  # bytes since the last whole event
        self._at_start = True  # a byte order mark may still come
        self._after_cr = False  # the last byte was CR: an LF now belongs to it

    @property
    def between_events(self) -> bool:
        """Whether no event is under way: the next byte may begin one."""
        return not (self._rest or self._lines)

    def __next__(self) -> bytes:
        while not self._ready:
            chunk = self._read1(READ_SIZE)
            if not chunk:
                raise StopIteration  # an event that was cut short does not count
            self._feed(chunk)
        return self._ready.popleft()

    def close(self) -> None:
        """Part of what ``SSEClient`` expects of a source; the response is closed by its owner."""

    def _feed(self, chunk: bytes) -> None:
        self._barren += len(chunk)
        text = self._without_bom(chunk)
        if self._after_cr and text.startswith(b"\n"):
            text, self._after_cr = text[1:], False
        if text:
            self._after_cr = text.endswith(b"\r")
        *lines, self._rest = (
            (self._rest + text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).split(b"\n")
        )  # fmt: skip
        for line in lines:
            self._take(line)
        self._check_size()

    def _without_bom(self, chunk: bytes) -> bytes:
        if not self._at_start:
            return chunk
        text, self._rest = self._rest + chunk, b""
        if len(text) < len(_BOM) and _BOM.startswith(text):
            self._rest = text  # could still become one
            return b""
        self._at_start = False
        return text.removeprefix(_BOM)

    def _take(self, line: bytes) -> None:
        if not line:
            self._finish_event()
        elif (kept := _normal_line(line)) is not None:
            self._lines.append(kept)
            self._size += len(line) + 1
            self._check_size()

    def _finish_event(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        if any(line == b"data" or line.startswith(b"data:") for line in lines):
            self._ready.append(b"\n".join(lines) + b"\n\n")
            self._barren = 0

    def _check_size(self) -> None:
        if self._size + len(self._rest) > MAX_BYTES:
            raise Malformed(f"expected events of at most {MAX_BYTES} bytes, got a longer one")
        if self._barren > MAX_BARREN_BYTES:
            raise Malformed(f"expected events, got {MAX_BARREN_BYTES} bytes without a single one")


def _normal_line(line: bytes) -> bytes | None:
    """A field line as valid UTF-8; None for comments and for what the standard ignores."""
    field, colon, value = line.partition(b":")
    if field not in _FIELDS:
        return None
    if field == b"data":
        return line.decode("utf-8", "replace").encode()
    value = value.removeprefix(b" ")
    if field == b"retry" and not value.isdigit():
        return None
    if field == b"id" and b"\0" in value:
        return None
    # sseclient logs these at DEBUG level: keep control characters out of the terminal
    name = "".join(c if c.isprintable() else "\ufffd" for c in value.decode("utf-8", "replace"))
    return field + colon + b" " + name.encode() if colon else field


def parse_leader(body: bytes | str) -> str | None:
    """The leader's name in a GET body or in an event's data; None for ``{}`` (no result yet).

    Raises `Malformed` for anything else: not JSON, nested too deeply, the wrong types,
    an empty name, or a name with characters that cannot be printed.
    """
    try:
        # not "utf-8-sig": Python imports that codec at its first use, and a fork meanwhile
        # would leave the child without it
        text = body.removeprefix(_BOM).decode() if isinstance(body, bytes) else body
        text = text.strip(_JSON_SPACE)
        answer, end = _decode(text)
    except RecursionError:  # 64 KB of "[": not a ValueError
        raise Malformed("expected a JSON object with a name, got one nested too deeply") from None
    except ValueError:
        raise Malformed(f"expected JSON, got {printable(body)}") from None
    if end != len(text):
        raise Malformed(f"expected JSON, got {printable(body)}")
    if not isinstance(answer, dict):
        raise Malformed(f"expected a JSON object, got {printable(body)}")
    if not answer:
        return None
    name = answer.get("name")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise Malformed(f'expected {{"name": "…"}}, got {printable(body)}')
    return name


def printable(text: bytes | str, limit: int = 120) -> str:
    """Text from outside made safe for a log line: quoted, escaped, at most ``limit`` characters."""
    head = text[: limit + 1]
    if isinstance(head, bytes):
        head = head.decode("utf-8", "replace")
    quoted = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in head[:limit])
    return f'"{quoted}…"' if len(head) > limit else f'"{quoted}"'

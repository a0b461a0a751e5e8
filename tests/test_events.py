"""Bytes to events and names: every case of the event-stream rules, over every split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sseclient import SSEClient

from elector_thread._sidecar import events as events_module
from elector_thread._sidecar.events import (
    MAX_BARREN_BYTES,
    MAX_BYTES,
    Malformed,
    normalise,
    parse_leader,
    printable,
)

Event = tuple[str, str]


def reader(pieces: list[bytes]) -> Callable[[int], bytes]:
    """``read1`` over ``pieces``; never more than asked for."""
    left = [piece for piece in pieces if piece]

    def read1(size: int) -> bytes:
        if not left:
            return b""
        head, rest = left[0][:size], left[0][size:]
        left[:1] = [rest] if rest else []
        return head

    return read1


def events(*pieces: bytes) -> list[Event]:
    return [(e.event, e.data) for e in SSEClient(normalise(reader(list(pieces)))).events()]


M = "message"
CASES: dict[str, tuple[bytes, list[Event]]] = {
    "one event": (b"data: x\n\n", [(M, "x")]),
    "two events": (b"data: x\n\ndata: y\n\n", [(M, "x"), (M, "y")]),
    "CR line ends": (b"data: x\r\rdata: y\r\r", [(M, "x"), (M, "y")]),
    "CRLF line ends": (b"data: x\r\n\r\ndata: y\r\n\r\n", [(M, "x"), (M, "y")]),
    "LF then CRLF": (b"data: x\n\r\ndata: y\n\n", [(M, "x"), (M, "y")]),
    "CRLF then LF": (b"data: x\r\n\ndata: y\r\n\n", [(M, "x"), (M, "y")]),
    "CR then LF CR": (b"data: x\r\n\rdata: y\r\r", [(M, "x"), (M, "y")]),
    "LF then CR": (b"data: x\n\rdata: y\n\r", [(M, "x"), (M, "y")]),
    "CR then CRLF": (b"data: x\r\r\ndata: y\r\r\n", [(M, "x"), (M, "y")]),
    "many blank lines": (b"\n\n\ndata: x\n\n\n\ndata: y\n\n\n", [(M, "x"), (M, "y")]),
    "byte order mark": (b"\xef\xbb\xbfdata: x\n\n", [(M, "x")]),
    "a second mark is a field": (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [(M, "y")]),
    "mark in the middle": (b"data: x\n\n\xef\xbb\xbfdata: y\n\ndata: z\n\n", [(M, "x"), (M, "z")]),
    "several data lines": (b"data: a\ndata: b\ndata:c\n\n", [(M, "a\nb\nc")]),
    "no space after the colon": (b"data:x\n\n", [(M, "x")]),
    "only one space is taken": (b"data:  x\n\n", [(M, " x")]),
    "a tab is not a space": (b"data:\tx\n\n", [(M, "\tx")]),
    "trailing space stays": (b"data: x \n\n", [(M, "x ")]),
    "data without colon": (b"data\n\n", [(M, "")]),
    "empty data": (b"data:\n\n", [(M, "")]),
    "two empty data lines": (b"data\ndata\n\n", [(M, "\n")]),
    "colons in data": (b"data: a:b: c\n\n", [(M, "a:b: c")]),
    "comment": (b": hello\ndata: x\n\n", [(M, "x")]),
    "comment within": (b"data: a\n: no\ndata: b\n\n", [(M, "a\nb")]),
    "comment alone": (b":\n\n: again\n\ndata: x\n\n", [(M, "x")]),
    "unknown field": (b"what: ever\nDATA: no\ndata: x\n\n", [(M, "x")]),
    "field name with space": (b" data: no\ndata: x\n\n", [(M, "x")]),
    "named event": (b"event: ping\ndata: x\n\ndata: y\n\n", [("ping", "x"), (M, "y")]),
    "empty event name": (b"event:\ndata: x\n\n", [(M, "x")]),
    "event without data": (b"event: ping\n\ndata: x\n\n", [(M, "x")]),
    "id and retry": (b"id: 7\nretry: 10\ndata: x\n\n", [(M, "x")]),
    "odd id and retry": (b"id: a\0b\nretry: soon\ndata: x\n\n", [(M, "x")]),
    "cut short in data": (b"data: x\n\ndata: y", [(M, "x")]),
    "cut short after the line": (b"data: x\n\ndata: y\n", [(M, "x")]),
    "invalid UTF-8": (b"data: \xff\xfe\n\ndata: y\n\n", [(M, "\ufffd\ufffd"), (M, "y")]),
    "UTF-8 cut by the line": (b"data: \xe2\x82\n\ndata: y\n\n", [(M, "\ufffd"), (M, "y")]),
    "NUL in data": (b"data: a\0b\n\n", [(M, "a\0b")]),
    "line separators that are none here": (
        "data: a\u2028b\x0bc\x0cd\x1ce\x85f\n\n".encode(),
        [(M, "a\u2028b\x0bc\x0cd\x1ce\x85f")],
    ),
    "no bytes at all": (b"", []),
}

cases = pytest.mark.parametrize(("stream", "expected"), CASES.values(), ids=CASES)


@cases
def test_whole(stream: bytes, expected: list[Event]) -> None:
    assert events(stream) == expected


@cases
def test_split_at_every_byte(stream: bytes, expected: list[Event]) -> None:
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == expected


@cases
def test_split_once_at_every_place(stream: bytes, expected: list[Event]) -> None:
    for cut in range(len(stream) + 1):
        assert events(stream[:cut], stream[cut:]) == expected, cut


@given(
    st.lists(st.sampled_from([b"data: x", b"data:", b":c", b"\r", b"\n", b"\r\n", b"\xff", b"e"])),
    st.lists(st.integers(1, 9)),
)
def test_splits_never_change_the_meaning(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    pieces, rest = [], stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert events(*pieces, rest) == events(stream)


@given(st.binary(max_size=2000))
def test_any_bytes_can_be_read(stream: bytes) -> None:
    events(stream)


def test_an_event_is_delivered_with_its_last_byte() -> None:
    """A CR that ends the blank line ends the event, though an LF may still belong to it."""

    def read1(_: int) -> bytes:
        assert not sent, "asked for more before the event was delivered"
        sent.append(True)
        return b"data: x\r\r"

    sent: list[bool] = []
    assert next(SSEClient(normalise(read1)).events()).data == "x"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", True),
        (b"data: x\n\n", True),
        (b": comment\n", True),
        (b"what: ever\n", True),
        (b"\n\n", True),
        (b"data: x\n\ndata: y\n\n", True),
        (b"d", False),
        (b"data: x\n", False),
        (b"event: e\r\n", False),
        (b"data: x\n\nd", False),
        (b"\xef\xbb", False),
    ],
)
def test_the_next_byte_begins_an_event_or_continues_one(received: bytes, expected: bool) -> None:
    blocks = normalise(reader([received]))
    for _ in blocks:
        pass
    assert blocks.between_events is expected


# --- endless input -----------------------------------------------------------------------


def endless(piece: bytes) -> Callable[[int], bytes]:
    """A peer that never stops; fails the test before the memory is full."""
    budget = 8 * MAX_BARREN_BYTES

    def read1(size: int) -> bytes:
        nonlocal budget
        part = (piece * (size // len(piece) + 1))[:size]
        budget -= len(part)
        assert budget > 0, "no end to the reading"
        return part

    return read1


@pytest.mark.parametrize("piece", [b"x", b"data: x\n", b"data", b"event: e\n"])
def test_an_endless_event_is_refused(piece: bytes) -> None:
    with pytest.raises(Malformed, match="at most 65536 bytes"):
        next(normalise(endless(piece)))


@pytest.mark.parametrize("piece", [b": comment\n", b":\n\n", b"\n", b"\r", b"event: e\n\n"])
def test_endless_nothing_is_refused(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MAX_BARREN_BYTES", 100_000)
    with pytest.raises(Malformed, match="without a single one"):
        next(normalise(endless(piece)))


def test_the_largest_event_passes_and_one_byte_more_does_not() -> None:
    room = MAX_BYTES - len(b"data: \n")
    assert len(events(b"data: " + b"x" * room + b"\n\n")) == 1
    with pytest.raises(Malformed):
        events(b"data: " + b"x" * (room + 1) + b"\n\n")


def test_heartbeats_between_events_cost_nothing() -> None:
    beat, news = b": beat\n\n", b"data: x\n\n"
    enough = MAX_BARREN_BYTES // len(beat) // 2
    assert len(events(*[beat * enough + news] * 4)) == 4


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "leader"),
    [
        (b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}', "pod-b"),
        ('{"name": "pod-b"}', "pod-b"),
        (b'\xef\xbb\xbf{"name":"pod-b"}', "pod-b"),
        (b' {"name":"pod-b","last_update":null,"more":[1]} \n', "pod-b"),
        ('{"name":"pød"}'.encode(), "pød"),
        (b"{}", None),
        (b" { } ", None),
    ],
)
def test_a_name_or_none_yet(body: bytes | str, leader: str | None) -> None:
    assert parse_leader(body) == leader


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"pod-b",
        b"<html></html>",
        b'"pod-b"',
        b"null",
        b"[]",
        b'["name"]',
        b"17",
        b'{"name":""}',
        b'{"name":null}',
        b'{"name":7}',
        b'{"name":["pod-b"]}',
        b'{"leader":"pod-b"}',
        b'{"last_update":"2026-11-23T03:18:53Z"}',
        b'{"name":"pod-b"',
        b'{"name":"pod\\nb"}',
        b'{"name":"pod\\u0000"}',
        b'{"name":"\\ud800"}',
        b'{"name":"pod-\xff"}',
        b'{"name":"pod-b"}{"name":"pod-c"}',
        b"1" * 5000,
        b"[" * 65536,
        b'{"a":' * 20000,
    ],
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="expected"):
        parse_leader(body)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_body_is_read_or_refused(body: bytes | str) -> None:
    try:
        leader = parse_leader(body)
    except Malformed as problem:
        complaint = str(problem)
    else:
        complaint = ""
        assert leader is None or json.loads(body)["name"] == leader
    assert complaint.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", '"plain"'),
        (b"bytes", '"bytes"'),
        ("a\nb\x1b[31m", r'"a\nb\x1b[31m"'),
        ("pød", r'"p\xf8d"'),
        (b"\xff", r'"\ufffd"'),
        ("x" * 200, '"' + "x" * 120 + '…"'),
    ],
)
def test_text_from_outside_is_escaped_and_short(text: bytes | str, shown: str) -> None:
    assert printable(text) == shown


def test_normalise_is_an_iterator_with_the_close_that_sseclient_calls() -> None:
    blocks = normalise(reader([b"data: x\n\n"]))
    assert isinstance(blocks, Iterator)
    SSEClient(blocks).close()
    assert next(blocks) == b"data: x\n\n"

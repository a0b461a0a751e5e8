"""Whole lines with a name before each, whatever replicas write."""

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from elector_thread.local.output import Output

from .helpers import elector_thread

pytestmark = pytest.mark.timeout(20)

RED_WORD = b"\x1b[31mred\x1b[0m"


def pipe() -> tuple[BinaryIO, BinaryIO]:
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb", buffering=0)


@contextmanager
def writer(output: Output, name: str) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """A replica's stdout and stderr; at the end all it wrote has been passed on."""
    (out, to_out), (err, to_err) = pipe(), pipe()
    threads = output.follow(name, out, err)
    with to_out, to_err:
        yield to_out, to_err
    for thread in threads:
        thread.join(10)


def shown(capsys: pytest.CaptureFixture[str], *chunks: bytes) -> list[str]:
    """What becomes of a replica's stdout, without the name."""
    with Output(width=5) as output, writer(output, "pod-a") as (stdout, _):
        for chunk in chunks:
            stdout.write(chunk)
    lines = capsys.readouterr().out.splitlines()
    prefix = "pod-a          | "
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"one\n\ntwo\n"], ["one", "", "two"]),
        ([b"no newline"], ["no newline"]),
        ([b"o", b"n", b"e\nt", b"wo\n"], ["one", "two"]),
        ([b"dos\r\nends\r\n"], ["dos", "ends"]),
        ([b"10%\r20%\rdone\n"], ["10%", "20%", "done"]),
        (["blåbær\n".encode()[:3], "blåbær\n".encode()[3:]], ["blåbær"]),
        ([b"\xff\xfe\x00\n"], ["\ufffd\ufffd\\x00"]),
        ([b"\x1b[2J\x1b]0;title\x07gone?\n"], ["\\x1b[2J\\x1b]0;title\\x07gone?"]),
        (["\u202e\u2028\x85\n".encode()], ["\\u202e\\u2028\\x85"]),
        ([b"tab\there\n"], ["tab\there"]),
        ([RED_WORD + b"\n"], ["red"]),
        ([b""], []),
    ],
)
def test_lines(capsys: pytest.CaptureFixture[str], chunks: list[bytes], lines: list[str]) -> None:
    assert shown(capsys, *chunks) == lines


def test_a_long_line_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, b"x" * 20_000 + b"\nnext\n")

    assert [len(line) for line in lines] == [8192, 8192, 3616, 4]


def test_stderr_is_marked_and_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(width=5) as output, writer(output, "pod-a") as (stdout, stderr):
        stdout.write(b"fine\n")
        stderr.write(b"not fine\n")

    out, err = capsys.readouterr()
    assert out == "pod-a          | fine\n"
    assert err == "pod-a          ! not fine\n"


def test_our_own_notes_are_for_a_terminal_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Output() as output:
        output.note("of passing interest")
        output.say("who leads")
        output.warn("a replica failed")

    out, err = capsys.readouterr()
    assert (out, err) == ("elector-thread | who leads\n", "elector-thread ! a replica failed\n")


def on_a_terminal(**environ: str) -> str:
    """What a user sees of two replicas that say a word and end."""
    script = r"printf '\033[31mred\n'; echo wrong >&2"
    master, terminal = pty.openpty()
    with subprocess.Popen(
        elector_thread("up", "--port", "0", "-n", "2", "--", "sh", "-c", script),
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", **environ},
    ):
        os.close(terminal)
        seen = b""
        while chunk := _read(master):
            seen += chunk
    os.close(master)
    return seen.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_colours_on_a_terminal() -> None:
    seen = on_a_terminal()

    styles = set(re.findall(r"\x1b\[(\d+)mapp-\w{6}-\w{5}\x1b\[0m", seen))
    assert len(styles) == 2, "each replica has its own"
    assert "\x1b[0m \x1b[31mred\x1b[0m\r\n" in seen, "and what it colours ends with its line"
    assert "\x1b[31m!\x1b[0m wrong" in seen
    assert len(set(re.findall(r"starting app-\S+ \(PORT=(\d+)\)", seen))) == 2


def test_no_color_is_respected() -> None:
    seen = on_a_terminal(NO_COLOR="1")

    assert "\x1b" not in seen
    assert "| red" in seen

"""Helpers for tests of processes: they wait for lines and for ends, not for time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Self

PATIENCE = 15.0
"""Seconds for each event that a test waits for, on a busy machine."""

GRACE = 1.0
"""Seconds for each way to end processes that still run at the end of a test."""

SLEEPER = ["sh", "-c", "echo pid $$; exec sleep 300"]
POD = r"app-([bcdfghjklmnpqrstvwxz2456789]{6})-([bcdfghjklmnpqrstvwxz2456789]{5})"

STUBBORN = """
trap 'echo asked' TERM
set -m 2>/dev/null                            # a grandchild in a group of its own
bash -c 'trap "" TERM; sleep 300 & echo pid $!; wait' &
setsid sh -c 'echo pid $$; exec sleep 300' &  # and one that has left the session
echo pid $! >&1; echo pid $$
while :; do wait; done
"""

ENTRY = "import sys; from elector_thread.cli import main; sys.exit(main())"


def elector_thread(*arguments: str) -> list[str]:
    """The command line, as the console script runs it."""
    return [sys.executable, "-c", ENTRY, *arguments]


def state_of(pid: int, what: str) -> str:
    """A line of the process's status in /proc, without its name."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(what + ":"))


def read_pids(pipe: IO[bytes], count: int) -> list[int]:
    """The pids that a script prints, one a line."""
    return [int(pipe.readline()) for _ in range(count)]


class Up:
    """`elector-thread up` with these arguments, on a free port; ended with its block.

    Its output is read line by line as it comes; `line` waits for one.
    """

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.process = subprocess.Popen(
            elector_thread("up", "--port", "0", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environ},
            start_new_session=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        self._news = Condition()  # protects `lines`, `errors` and `_open`
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._open = 2
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.errors),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, pipe: IO[str], lines: list[str]) -> None:
        for line in pipe:
            with self._news:
                lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    def line(self, pattern: str, *, stderr: bool = False) -> re.Match[str]:
        """The first line that matches; fails loudly if none comes."""
        return self.matches(pattern, 1, stderr=stderr)[0]

    def matches(self, pattern: str, count: int, *, stderr: bool = False) -> list[re.Match[str]]:
        """The first ``count`` lines that match; fails loudly if fewer come."""
        lines, seen = self.errors if stderr else self.lines, 0
        found: list[re.Match[str]] = []

        def enough() -> bool:
            nonlocal seen
            new, seen = lines[seen:], len(lines)
            found.extend(match for line in new if (match := re.search(pattern, line)))
            return len(found) >= count

        with self._news:
            self._news.wait_for(lambda: enough() or not self._open, PATIENCE)
        if len(found) < count:
            said = "\n".join(line[:200] for line in [*self.lines, *self.errors][-50:])
            raise AssertionError(f"{len(found)} of {count} lines match {pattern!r}:\n{said}")
        return found[:count]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code; all output has been read then."""
        code = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        return code

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        self.signal(signal.SIGINT)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):  # the second one kills
            if self.process.poll() is None:
                self.signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(GRACE)
        self.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


def pids(up: Up, count: int) -> dict[int, str]:
    """The pids that replicas print, and by whom."""
    return {int(match[2]): match[1] for match in up.matches(r"^(\S+) +\| pid (\d+)$", count)}


def leaders(up: Up, count: int) -> list[str]:
    """The first ones that were elected, in their order."""
    return [match[1] for match in up.matches(r"^elector-thread +\| (\S+) leads\b", count)]

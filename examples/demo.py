"""Shows leader election with three real processes and real HTTP.

Starts three replicas of `worker.py` with `elector-thread up`, kills the leader, waits for
the next one to take over and elects a third one by hand. Then it cuts the leader off from
the API server: without verification there are two leaders from then on; a second run with
`--verify` shows that the one that was cut off steps down. The demo fails if one of these
steps does not happen in time.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TOOL = str(Path(sys.executable).with_name("elector-thread"))
WORKER = os.path.relpath(Path(__file__).with_name("worker.py"))
TIMEOUT = 15.0  # seconds for each step
INTERVALS = {  # seconds, far shorter than the defaults
    "ELECTOR_THREAD_POLL_INTERVAL": "0.5",
    "ELECTOR_THREAD_RECONCILE_INTERVAL": "1",
    "ELECTOR_THREAD_REQUEST_TIMEOUT": "0.5",
    "ELECTOR_THREAD_GRACE_PERIOD": "3",
}
COLOURS = ("36", "33", "35")
COLOURED = (
    sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
)

terminal = threading.Lock()  # one line at a time; also protects `colours`
colours: dict[str, str] = {}


def painted(text: str, colour: str) -> str:
    return f"\033[{colour}m{text}\033[0m" if COLOURED else text


def show(line: str) -> None:
    """Print a line of `up`, with the name of each replica in its own colour."""
    name, space, text = line.partition(" ")
    with terminal:
        if name.startswith("app-"):
            colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
            line = painted(name, colour) + space + text
        print(line, flush=True)


def say(text: str) -> None:
    with terminal:
        print(f"\n{painted(text, '1')}", flush=True)


class Up:
    """`elector-thread up` with some workers, ended with Ctrl-C at the end of the block."""

    def __init__(self, *options: str) -> None:
        command = ["up", "--port", "0", *options, "--", "python", WORKER]
        say("$ " + shlex.join(["elector-thread", *command]))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.process = subprocess.Popen(
            [TOOL, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **INTERVALS, "PATH": path},
            start_new_session=True,  # Ctrl-C reaches only the demo, which passes it on
        )
        self.changed = threading.Condition()  # protects `lines`, `ended` and `pipe_closed`
        self.lines: list[str] = []
        self.ended = False  # there will be no more lines
        self.pipe_closed = False  # the reader of our own output is gone
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        try:
            with self.process.stdout as output:  # closing it also ends `up`
                for line in output:
                    show(line.rstrip("\n"))
                    with self.changed:
                        self.lines.append(line)
                        self.changed.notify_all()
            pipe_closed = False
        except BrokenPipeError:
            pipe_closed = True
        with self.changed:
            self.ended, self.pipe_closed = True, pipe_closed
            self.changed.notify_all()

    def wait_for(self, pattern: str, what: str, count: int = 1, since: int = 0) -> list[str]:
        """Wait until the pattern's group has matched ``count`` different texts; return them.

        since: how many lines to skip.
        """

        def found() -> list[str]:
            matches = (re.search(pattern, line) for line in self.lines[since:])
            return list(dict.fromkeys(match[1] for match in matches if match))

        with self.changed:
            self.changed.wait_for(lambda: self.ended or len(found()) >= count, TIMEOUT)
            if self.pipe_closed:
                raise BrokenPipeError
            if len(found()) < count:
                why = "up has ended" if self.ended else f"nothing for {TIMEOUT:g} s"
                sys.exit(f"demo: waiting for {what}: {why}")
            return found()[:count]

    def page(self) -> str:
        return self.wait_for(r"its page: (\S+)", "the elector")[0]

    def works(self, name: str, since: int = 0) -> None:
        self.wait_for(rf"^({name}) +\| round", f"work by {name}", since=since)

    def line_count(self) -> int:
        with self.changed:
            return len(self.lines)

    def isolate(self, leader: str) -> tuple[str, float]:
        """Cut the leader off from the API server; return the next leader, at work, and the time."""
        since = self.line_count()
        self.run("fault", "split", "--replica", leader)
        isolated = time.monotonic()
        (other,) = self.wait_for(r"\| (app-\S+) leads\b", "another leader", since=since)
        self.works(other, since)
        return other, isolated

    def run(self, *arguments: str) -> None:
        """Run another command, as in another terminal."""
        say("$ " + shlex.join(["elector-thread", *arguments]))
        environ = {**os.environ, "ELECTOR_LOCAL_URL": self.page()}
        try:
            ended = subprocess.run(
                [TOOL, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environ,
                timeout=TIMEOUT,
                start_new_session=True,  # as for `up`
            )
        except subprocess.TimeoutExpired as error:
            sys.exit(f"demo: {error}")
        with terminal:
            print(ended.stdout, end="", flush=True)
        if ended.returncode:
            sys.exit(f"demo: expected exit code 0, got {ended.returncode}")

    def check_exit_code(self) -> None:
        if self.process.returncode != 128 + signal.SIGINT:
            sys.exit(f"demo: up ended with exit code {self.process.returncode}")

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        say("Ctrl-C")
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(TIMEOUT)  # the last lines have been printed


def failover() -> None:
    with Up("--replicas", "3") as up:
        (first,) = up.wait_for(r"\| (app-\S+) leads\b", "a leader")
        names = up.wait_for(
            rf"^(\S+) +\| the leader is {first}", "all replicas to see the leader", count=3
        )
        up.works(first)

        up.run("fault", "kill", "--replica", first)
        _, second = up.wait_for(r"\| (app-\S+) leads\b", "the next leader", count=2)
        up.works(second)

        (third,) = set(names) - {first, second}
        up.run("elect", third)
        up.wait_for(rf"^({second}) +\| lost leadership", f"{second} to step down")
        up.works(third)

        say(f"Now {third} is cut off from the API server. Its elector cannot know of a new leader.")
        other, _ = up.isolate(third)
        since = up.line_count()
        up.works(third, since)
        up.works(other, since)
        say(f"{third} is cut off: two leaders, for as long as that lasts.")
    up.check_exit_code()


def verification() -> None:
    say("The same with --verify: the leader also reads the Lease from the API server.")
    with Up("--replicas", "2", "--verify") as up:
        (leader,) = up.wait_for(r"\| (app-\S+) leads\b", "a leader")
        up.works(leader)

        other, isolated = up.isolate(leader)
        up.wait_for(rf"^({leader}) +\| lost leadership", f"{leader} to step down")
        seconds = time.monotonic() - isolated
        up.works(other, up.line_count())
        say(f"{leader} stepped down after {seconds:.1f} s: {other} is the only leader.")
    up.check_exit_code()


def main() -> None:
    began = time.monotonic()
    failover()
    verification()
    say(f"Done in {time.monotonic() - began:.1f} s.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the interpreter's last flush
        sys.exit(128 + signal.SIGPIPE)

"""The main job in one command: three real processes, real HTTP, one leader at a time.

Types what a user would type: starts three replicas of `worker.py` with
`elector-thread up`, kills the leader, sees the next one take over, elects a third by
hand and ends everything with Ctrl-C. A scene that does not happen fails the demo.
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
PATIENCE = 15.0  # seconds for anything to happen
COLOURS = ("36", "33", "35")
COLOURFUL = (
    sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
)

terminal = threading.Lock()  # one line at a time; also protects `colours`
colours: dict[str, str] = {}


def painted(text: str, colour: str) -> str:
    return f"\033[{colour}m{text}\033[0m" if COLOURFUL else text


def show(line: str) -> None:
    """A line of `up`, the name of each replica in its own colour."""
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
    """`elector-thread up` with three workers, ended with Ctrl-C at the end of the block."""

    def __init__(self) -> None:
        command = ["up", "--port", "0", "--replicas", "3", "--", "python", WORKER]
        say("$ " + shlex.join(["elector-thread", *command]))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.process = subprocess.Popen(
            [TOOL, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": path},
            start_new_session=True,  # a Ctrl-C here reaches the demo alone, which passes it on
        )
        self.news = threading.Condition()  # protects `lines`, `over` and `unread`
        self.lines: list[str] = []
        self.over = False  # no more lines will come
        self.unread = False  # whoever read our own output is gone
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        try:
            with self.process.stdout as said:  # closed at the end, which ends `up` as well
                for line in said:
                    show(line.rstrip("\n"))
                    with self.news:
                        self.lines.append(line)
                        self.news.notify_all()
            unread = False
        except BrokenPipeError:
            unread = True
        with self.news:
            self.over, self.unread = True, unread
            self.news.notify_all()

    def wait_for(self, pattern: str, what: str, count: int = 1) -> list[str]:
        """What the pattern's group found, ``count`` different ones, once there are so many."""

        def found() -> list[str]:
            matches = (re.search(pattern, line) for line in self.lines)
            return list(dict.fromkeys(match[1] for match in matches if match))

        with self.news:
            self.news.wait_for(lambda: self.over or len(found()) >= count, PATIENCE)
            if self.unread:
                raise BrokenPipeError
            if len(found()) < count:
                why = "but up has ended" if self.over else f"in vain for {PATIENCE:g} s"
                sys.exit(f"demo: waited for {what}, {why}")
            return found()[:count]

    def page(self) -> str:
        return self.wait_for(r"its page: (\S+)", "the elector to start")[0]

    def works(self, name: str) -> None:
        self.wait_for(rf"^({name}) +\| does round 2", f"{name} to work")

    def run(self, *arguments: str) -> None:
        """Another command, as if in another terminal."""
        say("$ " + shlex.join(["elector-thread", *arguments]))
        environ = {**os.environ, "ELECTOR_LOCAL_URL": self.page()}
        try:
            ended = subprocess.run(
                [TOOL, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environ,
                timeout=PATIENCE,
                start_new_session=True,  # as for `up`
            )
        except subprocess.TimeoutExpired as error:
            sys.exit(f"demo: {error}")
        with terminal:
            print(ended.stdout, end="", flush=True)
        if ended.returncode:
            sys.exit(f"demo: expected exit code 0, got {ended.returncode}")

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(PATIENCE)  # the last lines


def main() -> None:
    began = time.monotonic()
    with Up() as up:
        (first,) = up.wait_for(r"\| (app-\S+) leads$", "somebody to lead")
        names = up.wait_for(rf"^(\S+) +\| sees that {first} leads", "all to know it", count=3)
        up.works(first)

        up.run("fault", "kill", "--replica", first)
        _, second = up.wait_for(r"\| (app-\S+) leads$", "the next one to lead", count=2)
        up.works(second)

        (third,) = set(names) - {first, second}
        up.run("elect", third)
        up.wait_for(rf"^({second}) +\| I lead no longer", f"{second} to step down")
        up.works(third)

        say("Ctrl-C")
    if up.process.returncode != 128 + signal.SIGINT:
        sys.exit(f"demo: up ended with exit code {up.process.returncode}")
    say(f"Done in {time.monotonic() - began:.1f} s.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the interpreter's own last flush
        sys.exit(128 + signal.SIGPIPE)

"""``watch``: every change as it happens. A live table on a terminal, else a line per change."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections import deque
from contextlib import suppress
from datetime import datetime
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from .._state.model import State, Status
from ..elector import Elector
from . import console

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["watch"]

TICK = 0.2
"""Seconds between two looks: not every change of state has a callback."""

REMEMBERED = 8
"""Changes that the table shows."""

STYLES = {State.LEADER: "bold green", State.FOLLOWER: "cyan", State.UNKNOWN: "bold red"}


def watch(*, as_json: bool) -> NoReturn:
    """Show changes until Ctrl-C (KeyboardInterrupt) or until nobody reads (BrokenPipeError)."""
    signal.signal(signal.SIGTERM, _leave)
    with Elector(scope="pod") as elector:
        wake = Event()
        wake.set()  # the first look is at once
        elector.on_elected(wake.set)
        elector.on_demoted(wake.set)
        elector.on_leader_change(wake.set)
        if as_json or not _can_draw():
            _lines(elector, wake, as_json=as_json)
        try:
            from rich.live import Live
        except ImportError:
            console.complain("watch", "a live table needs rich: pip install 'elector-thread[cli]'")
            _lines(elector, wake, as_json=False)
        _live(elector, wake, Live)


def _can_draw() -> bool:
    """Whether somebody looks at a terminal that can show a table that changes."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _leave(number: int, _: FrameType | None) -> NoReturn:
    """SIGTERM: leave through every ``finally``, so that the terminal gets its cursor back."""
    raise SystemExit(128 + number)


def _look(elector: Elector, wake: Event) -> Status:
    """The status after a tick, or as soon as something has changed."""
    wake.wait(TICK)
    wake.clear()
    return elector.status()


def _essence(status: Status) -> tuple[State, str | None, str]:
    """What makes a change worth a line."""
    return status.state, status.leader, status.stream


def _lines(elector: Elector, wake: Event, *, as_json: bool) -> NoReturn:
    told = None
    while True:
        status = _look(elector, wake)
        if _essence(status) != told:
            told = _essence(status)
            console.say(_as_json(status) if as_json else _line(status))
        if _nobody_reads():
            raise BrokenPipeError


def _nobody_reads() -> bool:
    """Whether the pipe's other end is closed; else we would learn it at the next change only."""
    with suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    return False


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _as_json(status: Status) -> str:
    return json.dumps({"time": _now(), **status.as_dict()})


def _line(status: Status) -> str:
    leader = console.one_line(status.leader or "-")
    return f"{_now()} {status.state.value:<8} leader={leader} stream={status.stream}"


def _live(elector: Elector, wake: Event, live: type) -> NoReturn:
    from rich.console import Console

    changes: deque[tuple[str, Status]] = deque(maxlen=REMEMBERED)
    with live(console=Console(), auto_refresh=False) as shown:  # Console heeds NO_COLOR
        while True:
            status = _look(elector, wake)
            if not changes or _essence(changes[-1][1]) != _essence(status):
                changes.append((datetime.now().strftime("%H:%M:%S"), status))
            shown.update(_picture(status, changes), refresh=True)


def _picture(status: Status, changes: deque[tuple[str, Status]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    outer = Table.grid(padding=(0, 2))
    rows = {
        "leader": status.leader or "not known",
        "identity": status.identity,
        "stream": status.stream,
        "confirmed": "never" if status.age is None else f"{status.age:.0f} s ago",
        "holds for": "-" if status.expires_in is None else f"{status.expires_in:.0f} s",
        "last error": status.last_error or "none",
    }
    outer.add_row("state", Text(status.state.value.upper(), style=STYLES[status.state]))
    for name, value in rows.items():
        outer.add_row(name, Text(value))
    outer.add_row("", "")
    for clock, then in changes:
        text = Text(f"{then.state.value:<9}", style=STYLES[then.state])
        text.append(f" leader {then.leader or '-'}, stream {then.stream}", style="")
        outer.add_row(clock, text)
    outer.add_row("", "")
    outer.add_row("", Text("Ctrl-C ends this", style="dim"))
    return outer

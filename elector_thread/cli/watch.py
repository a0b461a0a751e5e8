"""``watch``: every change as it happens; a live table on a terminal, otherwise lines."""

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

from .. import Elector, State, Status
from .._runtime import access
from ..integrations._text import fields
from .terminal import one_line, print_error, print_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

__all__ = ["watch"]

INTERVAL = 0.2
"""Seconds between two looks at the status: not every change has a callback."""

MAX_CHANGES = 8
"""Changes that the table shows."""

STYLES = {State.LEADER: "bold green", State.FOLLOWER: "cyan", State.UNKNOWN: "bold red"}


def watch(*, as_json: bool) -> NoReturn:
    """Show changes until KeyboardInterrupt, or BrokenPipeError if the reader is gone."""
    signal.signal(signal.SIGTERM, _exit)
    with Elector(scope="pod") as elector:
        changed = Event()
        changed.set()  # the first status is shown at once
        for kind in ("on_elected", "on_demoted"):
            access.listen(elector, kind, changed.set, is_work=lambda: False)
        elector.on_leader_change(changed.set)
        live = None if as_json else _live_display()
        if live is None:
            _print_changes(elector, changed, as_json=as_json)
        _draw_table(elector, changed, live)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    """SIGTERM: leave through every ``finally``, which restores the terminal's cursor."""
    raise SystemExit(128 + number)


def _live_display() -> Live | None:
    """A display for a table that changes; None if stdout cannot show one."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        print_error("watch", "a live table needs rich: pip install 'elector-thread[cli]'")
        return None
    return Live(console=Console(), auto_refresh=False)  # Console respects NO_COLOR


def _next_status(elector: Elector, changed: Event) -> Status:
    """The status after the interval, or earlier after a change."""
    changed.wait(INTERVAL)
    changed.clear()
    return elector.status()


def _key(status: Status) -> tuple[State, str | None, str]:
    """What makes a change worth showing."""
    return status.state, status.leader, status.stream


def _print_changes(elector: Elector, changed: Event, *, as_json: bool) -> NoReturn:
    shown = None
    while True:
        status = _next_status(elector, changed)
        if _key(status) != shown:
            shown = _key(status)
            print_line(_as_json(status) if as_json else _as_line(status))
        if _reader_is_gone():
            raise BrokenPipeError


def _reader_is_gone() -> bool:
    """Whether the other end of stdout is closed; a write would fail only at the next change."""
    with suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    return False


def _timestamp() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _as_json(status: Status) -> str:
    return json.dumps({"time": _timestamp(), **status.as_dict()})


def _as_line(status: Status) -> str:
    leader = one_line(status.leader or "-")
    return f"{_timestamp()} {status.state.value:<8} leader={leader} stream={status.stream}"


def _draw_table(elector: Elector, changed: Event, live: Live) -> NoReturn:
    changes: deque[tuple[str, Status]] = deque(maxlen=MAX_CHANGES)
    with live:
        while True:
            status = _next_status(elector, changed)
            if not changes or _key(changes[-1][1]) != _key(status):
                changes.append((datetime.now().strftime("%H:%M:%S"), status))
            live.update(_table(status, changes), refresh=True)


def _table(status: Status, changes: deque[tuple[str, Status]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    rows = {
        **fields(status),
        "state": status.state.value.upper(),
        "stream": status.stream,
        "confirmed": "never" if status.age is None else f"{status.age:.0f} s ago",
        "expires in": "-" if status.expires_in is None else f"{status.expires_in:.0f} s",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value, style=STYLES[status.state] if name == "state" else ""))
    table.add_row("", "")
    for time, then in changes:
        text = Text(f"{then.state.value:<9}", style=STYLES[then.state])
        text.append(f" leader {then.leader or '-'}, stream {then.stream}", style="")
        table.add_row(time, text)
    table.add_row("", "")
    table.add_row("", Text("press Ctrl-C to quit", style="dim"))
    return table

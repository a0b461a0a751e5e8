"""What the frameworks' commands print: a status for people, and no log lines beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..model import Status

__all__ = ["describe", "without_log"]


def describe(status: Status, *, as_json: bool = False) -> str:
    """Who leads and what is known of it: one JSON object, or a few lines."""
    if as_json:
        return json.dumps(status.as_dict())
    leader = status.leader or "not known"
    lines = [
        f"state:    {status.state.value}",
        f"leader:   {leader}{' (this pod)' if status.leader == status.identity else ''}",
        f"identity: {status.identity}",
    ]
    if status.last_error:
        lines.append(f"problem:  {status.last_error}")
    return "\n".join(lines)


@contextmanager
def without_log() -> Iterator[None]:
    """Keep the library's log quiet: a command tells by itself what went wrong."""
    log = logging.getLogger("elector_thread")

    def drop(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(drop)
    try:
        yield
    finally:
        log.removeFilter(drop)

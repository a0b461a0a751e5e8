"""One replica of the cluster: its sidecar's face, its own views, and its process, if we know it.

Lives on one event loop, so needs no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .face import Face
from .faults import FaultError
from .views import Views

__all__ = ["Hooks", "ProcessHook", "Replica", "act"]

ProcessHook = Callable[[str], object]


@dataclass(slots=True)
class Hooks:
    """How to act on a replica's real process, by name; called on a worker thread."""

    freeze: ProcessHook | None = None
    thaw: ProcessHook | None = None
    kill: ProcessHook | None = None


async def act(hook: ProcessHook | None, name: str) -> None:
    """Act on a process, away from the loop. Raises `FaultError` if that fails."""
    if hook is None:
        return
    failure = ""
    try:
        await asyncio.to_thread(hook, name)
    except Exception as error:  # the hook is somebody else's code
        failure = f"{type(error).__name__}: {error}"
    if failure:
        raise FaultError(f"the process of {name} could not be reached ({failure})")


@dataclass(slots=True)
class Replica:
    """One replica that lives.

    key: opens its lane for reports, and nothing else.
    shown: the newest view in the chronicle.
    outdated: the result that it is stuck with while isolated (`Kind.SPLIT`).
    """

    name: str
    face: Face
    key: str = field(repr=False)
    started: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds")
    )
    views: Views = field(default_factory=Views)
    shown: tuple[str | None, str | None] = (None, None)
    outdated: bytes | None = None
    frozen: bool = False

    def as_dict(self, instant: float, *, alive: bool = True) -> dict[str, Any]:
        """For the page and the command line."""
        state, leader = self.views.at(instant) if alive else (None, None)
        age = self.views.age(instant)
        return {
            "name": self.name,
            "started": self.started,
            "alive": alive,
            "frozen": self.frozen and alive,
            "isolated": self.outdated is not None and alive,
            "state": state,
            "says_leader": leader,
            "last_report_age": None if age is None else round(age, 1),
            "streams": self.face.streams if alive else 0,
            "gets": self.face.gets,
            "get_url": self.face.get_url,
        }

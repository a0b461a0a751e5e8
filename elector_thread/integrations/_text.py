"""A status as text or JSON, for the commands of frameworks and ``elector-thread``."""

from __future__ import annotations

import json

from .._state.model import Status

__all__ = ["describe", "fields"]


def describe(status: Status, *, as_json: bool = False) -> str:
    """The status as one JSON object, or as lines of text for people."""
    if as_json:
        return json.dumps(status.as_dict())
    return "\n".join(f"{name + ':':<9} {value}" for name, value in fields(status).items())


def fields(status: Status) -> dict[str, str]:
    """What people want to know of a status, by its label."""
    leader = status.leader or "not known"
    rows = {
        "state": status.state.value,
        "leader": f"{leader} (this pod)" if status.leader == status.identity else leader,
        "identity": status.identity,
    }
    if status.last_error:
        rows["problem"] = status.last_error
    return rows

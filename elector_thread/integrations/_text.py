"""What the frameworks' commands print: a status for people."""

from __future__ import annotations

import json

from .._state.model import Status

__all__ = ["describe"]


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

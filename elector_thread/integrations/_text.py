"""A status as text or JSON, for commands, health endpoints and ``elector-thread``."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from .._state.model import PastLeadership, Status, TaskStatus, Verification

__all__ = ["describe", "describe_at_length", "describe_leadership", "fields"]

SHARED = (
    "another process of this pod runs leader-only work as well; "
    'use scope="process" for one leader per pod'
)
LOCKED = "held by another process of this pod, which is the leader"


def describe(status: Status, *, as_json: bool = False) -> str:
    """The status as one JSON object, or as lines of text for people."""
    if as_json:
        return json.dumps(status.as_dict())
    return "\n".join(f"{name + ':':<9} {value}" for name, value in fields(status).items())


def describe_at_length(status: Status) -> str:
    """The lines of `describe`, and one for each leader task and each remembered leadership."""
    lines = [describe(status), f"alive:    {'yes' if status.alive else 'no'}"]
    lines += [f"task:     {_describe_task(one)}" for one in status.tasks]
    lines += [f"history:  {describe_leadership(one)}" for one in status.history]
    return "\n".join(lines)


def describe_leadership(past: PastLeadership) -> str:
    """When a leadership began, how long it lasted, and why it ended."""
    reason = "so far" if past.reason is None else past.reason
    return f"leadership {past.number} from {_instant(past.began)}, {past.seconds:.0f} s, {reason}"


def _describe_task(task: TaskStatus) -> str:
    text = f"{task.name}: {task.state}"
    if task.since is not None:
        text += f" since {_instant(task.since)}"
    if task.failures:
        text += f", failed {task.failures} times, last with {task.last_error}"
    return text


def _instant(unix_time: float) -> str:
    return f"{datetime.fromtimestamp(unix_time, UTC):%Y-%m-%d %H:%M:%SZ}"


def fields(status: Status) -> dict[str, str]:
    """What people want to know of a status, by its label."""
    leader = status.leader or "not known"
    rows = {
        "state": status.state.value,
        "leader": f"{leader} (this pod)" if status.leader == status.identity else leader,
        "identity": status.identity,
    }
    verification = status.verification
    if verification is not None:
        rows["lease"] = _found(verification)
    if status.last_error and (verification is None or status.last_error != verification.problem):
        rows["problem"] = status.last_error
    if status.holds_lock is False and status.leader == status.identity:
        rows["lock"] = LOCKED
    if status.shares_work:
        rows["work"] = SHARED
    return rows


def _found(verification: Verification) -> str:
    """What ``verify="lease"`` last found."""
    holder, ours, age, problem = verification
    if problem is not None and not ours:
        return problem
    if age is None:
        return "not read: only the pod that the sidecar names reads it"
    found = f"names {'this pod' if ours else holder or 'no pod'}, read {age:.0f} s ago"
    return found if problem is None else f"{found}; {problem}"

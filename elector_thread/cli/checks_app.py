"""``doctor``: what the running application says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .._state.model import PastLeadership
from ..errors import ElectorUnavailableError
from ..integrations._text import describe_leadership
from .app import APP_URL, OTHER_JSON, ask_app_for_json
from .findings import NOTE, OK, PROBLEM, Finding

__all__ = ["check_app"]

CHECK = "application"


def check_app(url: str | None) -> list[Finding]:
    """The findings about the application whose health view is at ``url``."""
    if url is None:
        return []
    try:
        return list(_examine(ask_app_for_json(url)))
    except ElectorUnavailableError as error:
        problem = str(error)
    except (AttributeError, KeyError, TypeError, ValueError):  # or of a version with other fields
        problem = OTHER_JSON
    remedy = (
        "check that the application runs, and that --app or "
        f"{APP_URL} is the address of its health view"
    )
    return [Finding(PROBLEM, CHECK, problem, remedy)]


def _examine(status: Mapping[str, Any]) -> Iterator[Finding]:
    if status["alive"]:
        yield Finding(OK, CHECK, f"runs; state: {status.get('state')}")
    else:
        yield Finding(
            PROBLEM,
            CHECK,
            "a thread of elector-thread has died or is stuck, or a callback never ends",
            "restart the pod, and look for errors of elector_thread in its log",
        )
    for task in status.get("tasks", ()):
        if task.get("failures"):
            yield _failing(task)
    for past in status.get("history", ()):
        yield Finding(NOTE, "history", describe_leadership(PastLeadership(**past)))


def _failing(task: Mapping[str, Any]) -> Finding:
    return Finding(
        PROBLEM,
        "task",
        f"while_leader function {task['name']} has failed {task['failures']} times in this "
        f"leadership; now: {task['state']}",
        "see the traceback in the application's log: 'while_leader function … raised'",
    )

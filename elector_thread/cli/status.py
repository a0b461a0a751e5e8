"""``status`` and ``is-leader``: one GET, one answer."""

from __future__ import annotations

import json

from .._dispatch.log import without_log
from .._state.model import State, Status
from ..elector import Elector
from ..errors import ElectorUnavailableError
from . import console

__all__ = ["is_leader", "status"]

VERDICTS = {State.LEADER: 0, State.FOLLOWER: 1, State.UNKNOWN: 2}
"""The exit codes of ``is-leader``."""

NO_ANSWER = 2

NO_RESULT = "the elector knows no leader yet; normal for some seconds after a pod's start"


def status(*, as_json: bool) -> int:
    """Show what one GET says; 0 if it was answered, else 2."""
    found, problem = _ask()
    console.say(json.dumps(found.as_dict()) if as_json else _for_people(found))
    if problem is None:
        return 0
    console.complain("status", problem)
    return NO_ANSWER


def is_leader(*, verbose: bool) -> int:
    """Say by exit code who we are: 0 leader, 1 follower, 2 unknown."""
    found, problem = _ask()
    if verbose:
        console.say(found.state.value)
    if found.state is State.UNKNOWN:
        console.complain("is-leader", problem or NO_RESULT)
    return VERDICTS[found.state]


def _ask() -> tuple[Status, str | None]:
    """The status after one GET, and why there was no answer.

    About the pod, whatever the application's scope: this process holds no seat.
    """
    elector = Elector(scope="pod")
    try:
        with without_log():
            return elector.refresh(), None
    except ElectorUnavailableError as error:
        return elector.status(), str(error)


def _for_people(found: Status) -> str:
    leader = found.leader or "not known"
    if found.leader is not None and found.is_leader:
        leader += " (this pod)"
    rows = {"state": found.state.value, "leader": leader, "identity": found.identity}
    if found.state is State.UNKNOWN:
        rows["because"] = found.last_error or NO_RESULT
    return "\n".join(f"{name:<10}{console.one_line(value)}" for name, value in rows.items())

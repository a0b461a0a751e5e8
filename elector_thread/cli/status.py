"""``status`` and ``is-leader``: ask the elector once."""

from __future__ import annotations

from .. import Elector, ElectorUnavailableError, State, Status
from .._dispatch.log import without_log
from ..integrations._text import describe
from ..settings import resolve
from .app import ask_app
from .terminal import print_error, print_line

__all__ = ["is_leader", "status", "why_not_leader"]

EXIT_CODES = {State.LEADER: 0, State.FOLLOWER: 1, State.UNKNOWN: 2}
"""The exit codes of ``is-leader``."""

NO_ANSWER = 2

NO_RESULT = "the elector has no election result yet, which is normal shortly after a pod starts"


def status(*, as_json: bool, app: str | None) -> int:
    """Show the answer to one GET, and what the Lease says; 0 if GET was answered, else 2.

    app: show what the application with this health view says of itself instead.
    """
    if app is not None:
        print_line(ask_app(app, verbose=not as_json))
        return 0
    found, problem = _ask()
    print_line(describe(found, as_json=as_json))
    if found.state is State.UNKNOWN:
        print_error("status", problem or _why_unknown(found))
    return 0 if problem is None else NO_ANSWER


def is_leader(*, verbose: bool) -> int:
    """Answer with the exit code: 0 leader, 1 follower, 2 unknown."""
    found, problem = _ask()
    if verbose:
        print_line(found.state.value)
    if found.state is State.UNKNOWN:
        print_error("is-leader", problem or _why_unknown(found))
    return EXIT_CODES[found.state]


def why_not_leader(found: Status) -> str:
    """Why this process is not the leader, in one clause."""
    if found.state is State.UNKNOWN:
        return f"the leader is not known ({found.last_error or _why_unknown(found)})"
    if found.leader is None:  # assumed, with when_unconfigured="follow"
        return "this pod is a follower"
    if found.leader == found.identity:
        return "another process of this pod leads"
    return f"{found.leader} leads"


def _why_unknown(found: Status) -> str:
    """Why the leader is unknown although the elector answered."""
    unverified = None if found.verification is None else found.verification.problem
    return NO_RESULT if unverified is None else f"not verified: {unverified}"


def _ask() -> tuple[Status, str | None]:
    """The status after one GET, and the reason if there was no answer.

    With scope "pod" whatever the settings say: this process cannot hold the pod's lock.
    """
    resolve()  # which also reports a bad scope
    elector = Elector(scope="pod")
    try:
        with without_log():
            return elector.refresh(), None
    except ElectorUnavailableError as error:
        return elector.status(), str(error)

"""Every message of the log: its level and text, and what it means to an operator. Pure.

The table in docs/logs.md is generated from this: ``python -m elector_thread._dispatch.messages``.
"""

from __future__ import annotations

import logging
import sys
from typing import NamedTuple

__all__ = ["MESSAGES", "Message"]


class Message(NamedTuple):
    """One message.

    text: for ``%`` formatting, as `logging` does it.
    meaning, remedy: what happened, and what to do; an empty remedy: nothing.
    """

    level: int
    text: str
    meaning: str
    remedy: str = ""


MESSAGES = {
    "leader": Message(
        logging.INFO,
        "%s is the leader (leadership %d)",
        "This process gained leadership; its callbacks are about to run.",
    ),
    "no_longer_leader": Message(
        logging.INFO,
        "%s is no longer the leader (leadership %d): %s",
        "This process lost leadership. Reasons: replaced (another leader is named, or another "
        "process has the pod's lock), expired (no answer for the grace period), unverified (no "
        "Lease that names this pod), stopped.",
        "Nothing for replaced and stopped. For expired and unverified, look for the warning about "
        "the sidecar or the Lease before it.",
    ),
    "get_failed": Message(
        logging.WARNING,
        "no usable answer from the elector at %s: %s; "
        "retrying; leadership expires after the grace period",
        "A GET failed or was answered with something other than an election result. Logged once "
        "per outage.",
        "If it lasts: run `elector-thread doctor` in the pod.",
    ),
    "get_answered": Message(
        logging.INFO,
        "the elector at %s answers again, after %.1f s",
        "The outage is over.",
    ),
    "stream_failed": Message(
        logging.DEBUG,
        "event stream: %s",
        "The event stream ended or could not be opened.",
    ),
    "stream_absent": Message(
        logging.INFO,
        "no event stream at this address: %s; polling only",
        "The address of the stream answered with something other than an event stream. Changes of "
        "the leader are noticed by polling, within poll_interval.",
        "Check ELECTOR_SSE_URL, or set sse_url=None to poll on purpose.",
    ),
    "stream_gone": Message(
        logging.INFO,
        "no event stream: %s; polling until it is back",
        "The stream failed twice in a row. Changes are noticed by polling meanwhile.",
    ),
    "stream_back": Message(
        logging.INFO,
        "the event stream is back, after %.1f s",
        "The outage of the stream is over.",
    ),
    "event_unreadable": Message(
        logging.WARNING,
        "unreadable event from the elector: %s; ignored",
        "An event of the stream is not an election result. Logged again only after five minutes "
        "without one.",
        "Check that ELECTOR_SSE_URL is the elector's.",
    ),
    "lease_contradicts": Message(
        logging.WARNING,
        "%s; not the leader until a Lease names it",
        'With verify="lease": the sidecar names this pod, but the Lease does not. The sidecar '
        "may be cut off from the API server.",
        "Run `elector-thread doctor` in the pod; restart the pod if its sidecar does not recover.",
    ),
    "lease_refused": Message(
        logging.ERROR,
        "cannot verify leadership, so cannot lead: %s",
        'With verify="lease": permission, token, CA or address is missing. This pod cannot be '
        "the leader until that changes.",
        "Run `elector-thread doctor` in the pod: it names the missing manifest line.",
    ),
    "lease_failed": Message(
        logging.WARNING,
        "cannot read the Lease: %s; retrying; leadership expires after the grace period",
        'With verify="lease": the API server did not answer usably. Logged once per outage.',
        "If it lasts: run `elector-thread doctor` in the pod.",
    ),
    "lease_answered": Message(
        logging.INFO,
        "the Lease can be read again, after %.1f s",
        "The outage of the API server is over.",
    ),
    "no_fence": Message(
        logging.WARNING,
        "the Lease's resourceVersion is not a decimal number; leadership.fence is None",
        "This API server's versions cannot be used as fencing tokens.",
        "Do not rely on fences in this cluster.",
    ),
    "callback_failed": Message(
        logging.ERROR,
        "%s raised; continuing",
        "A callback or a while_leader function raised; the traceback follows. A while_leader "
        "function is called again after a growing pause.",
        "Fix the function.",
    ),
    "loop_closed": Message(
        logging.WARNING,
        "the event loop of %s is closed; its async functions are dropped; "
        "await AsyncElector.stop() before the loop ends",
        "An event loop was closed while the elector ran. Async callbacks and tasks of that loop "
        "do not run any more. Logged once per loop.",
        "Use `async with elector:` or `elector.lifespan`, which stop the elector.",
    ),
    "callback_overran": Message(
        logging.WARNING,
        "%s has been running for %.1f s and delays other callbacks; "
        "use while_leader for long-running work",
        "A callback takes longer than poll_interval. Other callbacks, on_demoted among them, wait.",
        "Move the work into a while_leader function.",
    ),
    "guarded_call_unknown": Message(
        logging.WARNING,
        "%s was skipped: the leader is not known (elector at %s)",
        "A function behind only_on_leader was called while nothing is known about the leader. "
        "Logged once in five minutes for each function.",
        "If every replica logs it, the job ran nowhere: see the warning about the sidecar. For a "
        'job that is safe to repeat: only_on_leader(when_unknown="run").',
    ),
    "work_shared": Message(
        logging.WARNING,
        "another process of this pod runs leader-only work as well: in the leader pod, each of "
        'them leads and runs its own; use scope="process" for one leader per pod',
        'With scope="pod", several processes of this pod have on_elected or on_demoted callbacks, '
        "or while_leader functions: four workers of a server are four leaders. Logged by each of "
        "them except the first, at its start.",
        'Set scope="process" (ELECTOR_THREAD_SCOPE=process), or use one worker. Nothing if the '
        "processes do different work.",
    ),
    "observer_failed": Message(
        logging.ERROR,
        "the observer %s raised %s; continuing",
        "An observer that was added with add_observer raised; the traceback follows. Logged once "
        "for each observer and kind of error.",
        "Fix the observer.",
    ),
    "held_back": Message(
        logging.INFO,
        "this process only forks workers; the elector starts in each worker %s",
        "The elector was started in a server's master process. With the server's hook, each worker "
        "starts it at once; without it, at its first request.",
        "Nothing; or add the line that the message names.",
    ),
    "start_failed": Message(
        logging.ERROR,
        "cannot start after a fork, so this process cannot lead: %s",
        "A forked process could not open the pod's lock file or start a thread.",
        "Set lock_path to a file in a writable local folder; check the limit of threads.",
    ),
    "unexpected_error": Message(
        logging.CRITICAL,
        "unexpected %s in %s; continuing",
        "A bug of elector-thread; the traceback follows. Leadership expires if it lasts.",
        "Report it.",
    ),
}
"""By the name that each log record carries as ``elector_event``."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def table() -> str:
    """The messages as a Markdown table."""
    rows = ["| `elector_event` | level | message | meaning | what to do |", "|---|---|---|---|---|"]
    for name, message in MESSAGES.items():
        level = logging.getLevelName(message.level)
        cells = (f"`{name}`", level, f"`{message.text}`", message.meaning, message.remedy)
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")

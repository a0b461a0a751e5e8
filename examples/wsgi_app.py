"""A WSGI app for gunicorn and uWSGI: every worker of the leader pod is a leader.

On a laptop, set ELECTOR_THREAD_WHEN_UNCONFIGURED=lead first: there is no elector to ask.

gunicorn --chdir examples -c examples/gunicorn_conf.py wsgi_app:application
uwsgi --ini examples/uwsgi.ini
"""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from elector_thread import (
    LeaderChange,
    default_elector,
    on_demoted,
    on_elected,
    on_leader_change,
)


def say(text: str) -> None:
    print(f"{os.getpid()} {text}\n", end="", flush=True)  # one write: workers share stdout


@on_leader_change
def report(change: LeaderChange) -> None:
    say(f"sees that {change.current} leads")


@on_elected
def begin() -> None:
    say("is the leader")


@on_demoted
def end() -> None:
    say("is no longer the leader")


elector = default_elector().start()


def application(
    _environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), **elector.status().as_dict()}).encode()]

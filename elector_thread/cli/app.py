"""What the application itself says: its health view, which a command can ask.

A command is a process of its own. The tasks and the past leaderships of the application are
known to the application alone.
"""

from __future__ import annotations

import json
import os
from typing import Any

import requests

from .._sidecar.failures import failure_from
from ..errors import ElectorUnavailableError
from .terminal import UsageError

__all__ = ["APP_URL", "app_url", "ask_app", "ask_app_for_json"]

APP_URL = "ELECTOR_THREAD_APP_URL"
TIMEOUT = 0.8
"""Seconds: the commands answer in under a second."""


def app_url(option: str | None) -> str | None:
    """The address of the health view: the option, or the variable. UsageError for a bad one."""
    url = option or os.environ.get(APP_URL) or None
    if url is not None and not url.startswith(("http://", "https://")):
        raise UsageError(
            "--app: expected the URL of the health view, such as http://localhost:8000/elector, "
            f"got {url!r}"
        )
    return url


def ask_app(url: str, *, verbose: bool) -> str:
    """The text or the JSON of the health view. Raises `ElectorUnavailableError` without one."""
    with requests.Session() as session:
        session.trust_env = False  # no proxies, no netrc
        try:
            response = session.get(
                url,
                params={"verbose": ""} if verbose else None,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            problem = failure_from(error)  # in our words: the library's may hold a password
            raise ElectorUnavailableError(f"no answer from the application: {problem}") from None
    expected = "text/plain" if verbose else "application/json"
    found = response.headers.get("Content-Type", "no content type")
    if response.status_code not in (200, 503) or not found.startswith(expected):
        raise ElectorUnavailableError(
            f"expected the health view of elector-thread, found HTTP {response.status_code} "
            f"with {found}"
        )
    return response.text.rstrip("\n")


def ask_app_for_json(url: str) -> dict[str, Any]:
    """See `ask_app`; the JSON object."""
    text = ask_app(url, verbose=False)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "alive" not in found:
        raise ElectorUnavailableError(
            "expected the health view of elector-thread, found other JSON"
        )
    return found

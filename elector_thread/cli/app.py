"""What the application itself says: its health view, which a command can ask.

A command is a process of its own. The tasks and the past leaderships of the application are
known to the application alone.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlsplit

from .._sidecar.failures import ExchangeFailed
from .._sidecar.http import HttpClient
from ..errors import ElectorUnavailableError
from .terminal import UsageError

__all__ = ["APP_URL", "OTHER_JSON", "app_url", "ask_app", "ask_app_for_json"]

APP_URL = "ELECTOR_THREAD_APP_URL"
TIMEOUT = 0.8
"""Seconds: the commands answer in under a second."""

LONGEST = 1 << 20
"""Bytes of an answer."""

OTHER_JSON = "expected the health view of elector-thread, found other JSON"


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
    expected = "text/plain" if verbose else "application/json"
    try:
        client = HttpClient(_verbose(url) if verbose else url, expected, TIMEOUT)
        with client.get() as exchange:
            status, found = exchange.status, exchange.headers.get("Content-Type", "no content type")
            body = exchange.read(LONGEST)
        client.close()
    except ExchangeFailed as failure:
        raise ElectorUnavailableError(f"no answer from the application: {failure}") from None
    except ValueError:  # requests raises it, with the URL in its text
        raise ElectorUnavailableError("no answer from the application: invalid URL") from None
    if status not in (200, 503) or not found.startswith(expected):
        raise ElectorUnavailableError(
            f"expected the health view of elector-thread, found HTTP {status} with {found}"
        )
    return body.decode(errors="replace").rstrip("\n")


def _verbose(url: str) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, "verbose")))
    return parts._replace(query=query, fragment="").geturl()


def ask_app_for_json(url: str) -> dict[str, Any]:
    """See `ask_app`; the JSON object."""
    text = ask_app(url, verbose=False)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "alive" not in found:
        raise ElectorUnavailableError(OTHER_JSON)
    return found

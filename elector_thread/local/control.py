"""Steers a local elector that runs elsewhere: what ``elector-thread elect`` and ``fault`` use.

Talks to loopback only, directly: no proxies, no redirects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import ElectorError
from .runtime import Untrusted, published

__all__ = ["Control", "ControlError", "find"]

TIMEOUT = 10.0
"""Seconds for an answer; a kill waits for its process to be gone."""

MAX_BYTES = 4 * 1024 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ControlError(ElectorError):
    """There is no local elector to steer, or it refused. The message is for people: one line."""


def find(environ: Mapping[str, str] | None = None) -> Control:
    """The local elector to steer: ``ELECTOR_LOCAL_URL``, else the one that this user runs.

    Raises `ControlError` if there is none, more than one, or one that cannot be trusted.
    """
    given = (os.environ if environ is None else environ).get("ELECTOR_LOCAL_URL", "").strip()
    if given:
        return Control(given)
    try:
        urls = published()
    except (Untrusted, OSError) as error:
        raise ControlError(str(error)) from None
    if not urls:
        raise ControlError(
            "no local elector is running; start one with `elector-thread up`, or set "
            "ELECTOR_LOCAL_URL to the address that it printed"
        )
    if len(urls) > 1:
        raise ControlError(
            f"{len(urls)} local electors are running; set ELECTOR_LOCAL_URL to the address "
            f"that the one you mean printed"
        )
    return Control(urls[0])


class Control:
    """One local elector, addressed by its page's URL with the token.

    Raises `ControlError` for a URL that is none of a local elector's.
    """

    def __init__(self, url: str) -> None:
        wrong = "expected an address like http://localhost:PORT/ui?token=TOKEN"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if host not in LOOPBACK or not port or parts.scheme != "http":
            raise ControlError(f"ELECTOR_LOCAL_URL: {wrong}, on this machine")
        self._token = "".join(parse_qs(parts.query).get("token", []))
        if not self._token.isascii() or not self._token.isprintable() or not self._token:
            raise ControlError(f"ELECTOR_LOCAL_URL: {wrong}, but it has no token")
        self._host, self._port = host, port

    def state(self) -> dict[str, Any]:
        """What ``GET /admin/state`` answers."""
        return self._exchange("GET", "state")

    def elect(self, name: str) -> dict[str, Any]:
        """Make ``name`` the leader; the state that follows."""
        return self._exchange("POST", "elect", name=name)

    def fault(
        self, kind: str, replica: str | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Make a fault: on one replica or all (None), for some seconds or until cleared (None)."""
        return self._exchange("POST", "fault", kind=kind, replica=replica, seconds=seconds)

    def clear(self, kind: str | None = None, replica: str | None = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        answer = self._exchange("POST", "clear", kind=kind, replica=replica)
        return int(answer.get("cleared", 0))

    def _exchange(self, method: str, what: str, **given: Any) -> dict[str, Any]:
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        headers = {"X-Elector-Token": self._token, "Content-Type": "application/json"}
        problem = ""
        try:
            body = json.dumps(given) if method == "POST" else None
            connection.request(method, f"/admin/{what}", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read(MAX_BYTES))
        except (OSError, HTTPException, ValueError) as error:
            problem = str(error) or type(error).__name__
        finally:
            connection.close()
        if problem:
            raise ControlError(f"no local elector answers at {self._host}:{self._port}: {problem}")
        if not isinstance(answer, dict):
            raise ControlError(f"{self._host}:{self._port} is no local elector")
        if response.status != 200:
            raise ControlError(str(answer.get("error", f"refused with HTTP {response.status}")))
        return answer

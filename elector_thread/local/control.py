"""Controls a local elector from another process, as ``elector-thread elect`` and ``fault`` do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import ElectorError
from .discovery import published

__all__ = ["Control", "ControlError", "find"]

TIMEOUT = 10.0
"""Seconds for an answer; a kill waits until the process is gone."""

MAX_BYTES = 4 * 1024 * 1024


class ControlError(ElectorError):
    """No local elector was found, or it refused. The message is one line for people."""


def find(environ: Mapping[str, str] | None = None) -> Control:
    """The local elector at ``ELECTOR_LOCAL_URL``, or else the one that this user runs.

    environ: the environment variables; those of this process by default.
    Raises `ControlError` if there is none, or more than one.
    """
    url = (os.environ if environ is None else environ).get("ELECTOR_LOCAL_URL", "").strip()
    if url:
        return Control(url)
    try:
        urls = published()
    except (ElectorError, OSError) as error:
        raise ControlError(str(error)) from None
    if not urls:
        raise ControlError(
            "no local elector is running; start one with `elector-thread up`, or set "
            "ELECTOR_LOCAL_URL to the URL of the page that it printed"
        )
    if len(urls) > 1:
        raise ControlError(
            f"{len(urls)} local electors are running; set ELECTOR_LOCAL_URL to the URL of the "
            "page that one of them printed"
        )
    return Control(urls[0])


class Control:
    """Controls one local elector, given the URL of its page.

    Raises `ControlError` if the URL is not one of a local elector on this machine.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        token = "".join(parse_qs(urlsplit(url).query).get("token", [])) if host else ""
        local = host in ("localhost", "127.0.0.1", "::1") and parts.scheme == "http"
        if not (host and port and local and token.isascii() and token.isprintable() and token):
            raise ControlError(
                "ELECTOR_LOCAL_URL: expected an address like "
                "http://localhost:PORT/ui?token=TOKEN, on this machine"
            )
        self._host, self._port, self._token = host, port, token

    def state(self) -> dict[str, Any]:
        """The state, as returned by ``GET /admin/state``."""
        return self._exchange("GET", "state")

    def elect(self, name: str) -> dict[str, Any]:
        """Make ``name`` the leader; returns the new state."""
        return self._exchange("POST", "elect", name=name)

    def fault(
        self, kind: str, replica: str | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Inject a fault into one replica or all (None), for a time or until cleared (None)."""
        return self._exchange("POST", "fault", kind=kind, replica=replica, seconds=seconds)

    def clear(self, kind: str | None = None, replica: str | None = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        answer = self._exchange("POST", "clear", kind=kind, replica=replica)
        return int(answer.get("cleared", 0))

    def _exchange(self, method: str, action: str, **fields: Any) -> dict[str, Any]:
        where = f"{self._host}:{self._port}"
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        headers = {"X-Elector-Token": self._token, "Content-Type": "application/json"}
        body = json.dumps(fields) if method == "POST" else None
        try:
            connection.request(method, f"/admin/{action}", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read(MAX_BYTES))
        except (OSError, HTTPException, ValueError) as error:
            problem = str(error) or type(error).__name__
            raise ControlError(f"no answer from a local elector at {where}: {problem}") from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise ControlError(f"the answer from {where} is not one of a local elector")
        if response.status != 200:
            raise ControlError(str(answer.get("error", f"refused with HTTP {response.status}")))
        return answer

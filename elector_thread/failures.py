"""What went wrong in an exchange, in words of our own.

A library's message may hold the whole URL, password included; so nothing of it is
passed on but its kind.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from http.client import IncompleteRead

from .link import LimitReached
from .wire import Malformed

__all__ = ["Dropped", "ExchangeFailed", "NoStream", "failure_from"]


class ExchangeFailed(Exception):
    """No usable answer. The message is safe to show: one line, no credentials, escaped.

    retry_after: seconds that the elector asked us to wait, if it did.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoStream(ExchangeFailed):
    """Something answers at the stream's address, but it is no event stream."""


class Dropped(ExchangeFailed):
    """The connection went away before an answer came."""


def failure_from(error: Exception) -> ExchangeFailed:
    """What went wrong, in words of our own: a library's message may hold the whole URL."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, Malformed | LimitReached):
            return ExchangeFailed(str(cause))
    for cause in causes:
        for kind, failure, words in _WORDS:
            if isinstance(cause, kind):
                return failure(words)
        if isinstance(cause, ssl.SSLError):
            return ExchangeFailed(f"TLS failed: {cause.reason or 'unknown'}".lower())
        if isinstance(cause, OSError) and cause.errno:
            return ExchangeFailed(os.strerror(cause.errno).lower())
    return ExchangeFailed(f"not understood as HTTP ({type(causes[-1]).__name__})")


_WORDS: tuple[tuple[type[BaseException], type[ExchangeFailed], str], ...] = (
    (IncompleteRead, ExchangeFailed, "cut short by the other end"),
    (TimeoutError, ExchangeFailed, "no complete answer in time"),
    (ConnectionRefusedError, ExchangeFailed, "connection refused"),
    (ConnectionError, Dropped, "connection lost"),
    (socket.gaierror, ExchangeFailed, "the host's name cannot be resolved"),
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps, outermost first."""
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(seen) < 50:
        current = waiting.pop(0)
        if any(current is known for known in seen):
            continue
        seen.append(current)
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None)]
        waiting += [part for part in (*inner, *current.args) if isinstance(part, BaseException)]

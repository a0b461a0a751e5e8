"""What went wrong in an exchange, in words of our own.

A library's message may hold the whole URL with its password, so only its kind is used.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from http.client import IncompleteRead

from .events import Malformed, printable
from .transport import LimitReached

__all__ = [
    "ConnectionDropped",
    "ConnectionRefused",
    "ExchangeFailed",
    "HostUnknown",
    "NoStream",
    "TimedOut",
    "TlsFailed",
    "UnexpectedAnswer",
    "UntrustedCertificate",
    "failure_from",
]


class ExchangeFailed(Exception):
    """There was no usable answer. The message is safe to show: one line, escaped, no credentials.

    retry_after: the seconds that the other end asked us to wait, if it did.
    status: the HTTP status, if that is why the answer is of no use.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.status = status


class UnexpectedAnswer(ExchangeFailed):
    """Something answered, but with something else: it may be another program."""


class NoStream(ExchangeFailed):
    """Something answers at the stream's address, but not with an event stream.

    Without a ``status``, it answered with another content type, or with a content encoding.
    """


class TimedOut(ExchangeFailed):
    """There was no complete answer in time."""


class ConnectionRefused(ExchangeFailed):
    """No program accepts connections at the address."""


class HostUnknown(ExchangeFailed):
    """The host's name cannot be resolved."""


class TlsFailed(ExchangeFailed):
    """No encrypted connection could be established."""


class UntrustedCertificate(TlsFailed):
    """The other end's certificate could not be verified."""


class ConnectionDropped(ExchangeFailed):
    """The connection was lost before an answer came."""


_WORDS: tuple[tuple[type[BaseException], type[ExchangeFailed], str], ...] = (
    (IncompleteRead, ExchangeFailed, "cut short by the other end"),
    (TimeoutError, TimedOut, "no complete answer in time"),
    (ConnectionRefusedError, ConnectionRefused, "connection refused"),
    (ConnectionError, ConnectionDropped, "connection lost"),
    (socket.gaierror, HostUnknown, "the host's name cannot be resolved"),
)


def failure_from(error: Exception) -> ExchangeFailed:
    """The error that we raise in place of ``error``."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, Malformed | LimitReached):
            return UnexpectedAnswer(str(cause))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = getattr(cause, "verify_message", None)  # absent if not raised by OpenSSL
            return UntrustedCertificate(
                f"TLS failed: certificate_verify_failed, {printable(problem or 'unknown')}"
            )
        for kind, failure, words in _WORDS:
            if isinstance(cause, kind):
                return failure(words)
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "reason", None)  # absent if not raised by OpenSSL
            return TlsFailed(f"TLS failed: {str(reason or 'unknown').lower()}")
        if isinstance(cause, OSError) and cause.errno:
            return ExchangeFailed(os.strerror(cause.errno).lower())
    return UnexpectedAnswer(f"not understood as HTTP ({type(causes[-1]).__name__})")


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

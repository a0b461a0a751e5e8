"""What went wrong in an exchange, in words of our own."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from elector_thread._sidecar.failures import (
    ConnectionDropped,
    ConnectionRefused,
    ExchangeFailed,
    HostUnknown,
    TimedOut,
    TlsFailed,
    UnexpectedAnswer,
    failure_from,
)
from elector_thread._sidecar.transport import LimitReached


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError(), ConnectionRefused, "connection refused"),
        (BrokenPipeError(), ConnectionDropped, "connection lost"),
        (TimeoutError(), TimedOut, "no complete answer in time"),
        (
            socket.gaierror(socket.EAI_NONAME, "secret"),
            HostUnknown,
            "the host's name cannot be resolved",
        ),
        (ssl.SSLError(1, "secret"), TlsFailed, "TLS failed: unknown"),
        (OSError(errno.ENETUNREACH, "secret"), ExchangeFailed, "network is unreachable"),
        (LimitReached("our own limit"), UnexpectedAnswer, "our own limit"),
        (ValueError("secret"), UnexpectedAnswer, "not understood as HTTP (ValueError)"),
    ],
)
def test_failures_have_a_type_and_words_of_our_own(
    error: Exception, kind: type[ExchangeFailed], words: str
) -> None:
    outer = ValueError("secret", error)
    for given in (error, outer):
        failure = failure_from(given)
        assert str(failure).lower() == words.lower()
        assert type(failure) is kind


def test_an_error_that_refers_to_itself_has_words_too() -> None:
    error = ValueError("secret")
    error.__context__ = error
    assert "secret" not in str(failure_from(error))

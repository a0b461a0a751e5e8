"""What went wrong in an exchange, in words of our own."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from elector_thread._sidecar.failures import ConnectionDropped, failure_from
from elector_thread._sidecar.transport import LimitReached


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(), "connection refused"),
        (BrokenPipeError(), "connection lost"),
        (TimeoutError(), "no complete answer in time"),
        (socket.gaierror(socket.EAI_NONAME, "secret"), "the host's name cannot be resolved"),
        (ssl.SSLError(1, "secret"), "TLS failed: unknown"),
        (OSError(errno.ENETUNREACH, "secret"), "network is unreachable"),
        (LimitReached("our own limit"), "our own limit"),
        (ValueError("secret"), "not understood as HTTP (ValueError)"),
    ],
)
def test_failures_are_in_words_of_our_own(error: Exception, words: str) -> None:
    outer = ValueError("secret", error)
    for given in (error, outer):
        failure = failure_from(given)
        assert str(failure).lower() == words.lower()
        assert isinstance(failure, ConnectionDropped) is (words == "connection lost")


def test_an_error_that_refers_to_itself_has_words_too() -> None:
    error = ValueError("secret")
    error.__context__ = error
    assert "secret" not in str(failure_from(error))

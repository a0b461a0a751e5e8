"""The socket of an exchange: its deadline, its byte allowance and its off switch.

Standard library only. A read cannot exceed the deadline or the byte allowance, and
`Transport.cancel` interrupts it from any thread.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from math import inf
from typing import Any

from .._state.clock import now

__all__ = ["LimitReached", "Transport"]

ALLOWANCE = 128 * 1024
"""Raw bytes that may come in without a byte of payload: headers, 1xx answers, chunk
extensions and trailers have no other limit."""

KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""Finds a host that has vanished while the stream is silent. GET finds a stopped process."""


class LimitReached(OSError):
    """One of our own limits ended an exchange."""


class Transport:
    """One connected socket at a time, what it may still cost, and its off switch.

    The off switch is a duplicate of the socket that belongs to us alone: shutting it down
    wakes a read on the original, whatever its owner does with that meanwhile. `_switches`
    holds at most one. The thread that pops it (an atomic step) closes it, so no lock is needed: not
    between threads, not in a signal handler, and not in a forked child. `connect` adds the
    switch before it looks at `cancelled`, and `cancel` sets `cancelled` before it pops, so
    that one of them ends the connection.

    `empty_at` is the newest instant at which the socket was known to hold no unread byte;
    written by the reading thread and by `note_if_empty`, each time with an instant that is
    true. Everything else belongs to the thread that runs the exchange.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.empty_at = -inf
        self.received_after = -inf  # what was read last came in after this instant
        self._switches: list[socket.socket] = []
        self._socket: socket.socket | None = None
        self._poller: select.poll | None = None
        self._deadline = inf
        self._allowance = ALLOWANCE

    # --- for any thread ----------------------------------------------------------------

    def cancel(self) -> None:
        """End whatever is under way, wake a blocked read, and refuse later exchanges."""
        self.cancelled = True
        with suppress(IndexError):
            switch = self._switches.pop()
            with suppress(OSError):  # not connected yet, or not any more
                switch.shutdown(socket.SHUT_RDWR)
            switch.close()

    def note_if_empty(self, instant: float) -> None:
        """If no unread byte is in the socket now, what comes in later is newer than ``instant``.

        ``instant`` is the time, as taken before the call.
        """
        with suppress(IndexError, OSError, ValueError):  # closed at this very moment
            poller = select.poll()
            poller.register(self._switches[-1], select.POLLIN)
            if not poller.poll(0):
                self._note_empty(instant)

    def abandon(self) -> None:
        """In a forked child: close our copies of the parent's sockets.

        Closing a copy leaves the parent's connection alone; shutting it down would end it.
        """
        self.cancelled = True
        for sock in (self._socket, *self._switches):
            if sock is not None and (descriptor := sock.detach()) >= 0:
                os.close(descriptor)

    # --- for the thread that runs the exchange -------------------------------------------

    def begin(self, seconds: float) -> None:
        """Begin an exchange that must be over in ``seconds``."""
        instant = now()
        self._deadline = instant + seconds
        self.empty_at = instant  # no byte can have arrived before the request
        self.refill()

    def lift_deadline(self) -> None:
        """From now on the exchange may take any time."""
        self._deadline = inf

    def refill(self) -> None:
        """Payload came in: the allowance starts anew."""
        self._allowance = ALLOWANCE

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket that `cancel` ends, even while it is connecting."""
        self.release()  # of a connection that was dropped while it was idle
        error: OSError | None = None
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for index, (family, kind, proto, _, address) in enumerate(addresses):
            sock: socket.socket | None = None
            try:
                sock = socket.socket(family, kind, proto)  # may be refused, IPv6 for example
                self._socket = sock
                self._add_switch(sock)
                left = self._time_left()
                share = len(addresses) - index  # one dead address must not use up the time
                sock.settimeout(None if left is None else left / share)
                _configure(sock)
                sock.connect(address)
                sock.settimeout(self._time_left())  # for the TLS handshake
                return sock
            except OSError as failure:
                error = failure
                self.release()
                if sock is not None:
                    sock.close()
        raise error or OSError(f"no address for {host}")

    def holds(self, sock: socket.socket) -> None:
        """``sock`` has taken the place of the connected one, for the TLS handshake."""
        self._socket = sock

    def reads_from(self, sock: socket.socket) -> None:
        """The connection is made; ``sock`` is what `receive_into` will be called with."""
        self._socket = sock
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)

    @property
    def is_open(self) -> bool:
        """Whether the connection can be used for another exchange."""
        return self._socket is not None and self._socket.fileno() >= 0

    def release(self) -> None:
        """The socket was closed: close the off switch, too, or the connection stays open.

        Not before the response was read: http.client closes a connection that ends with its
        response when the headers have come in, and reads on.
        """
        self._socket = None
        with suppress(IndexError):
            self._switches.pop().close()

    def receive_into(self, sock: Any, buffer: Any) -> int:
        """Read from ``sock``; 0 at the end. Raises TimeoutError or `LimitReached`."""
        timeout = self._time_left()
        if timeout is not None or sock.gettimeout() is not None:
            sock.settimeout(timeout)
        if not (hasattr(sock, "pending") and sock.pending()):
            if timeout is None:
                self._wait_for_data()
            self.received_after = self.empty_at
        # else TLS holds decrypted bytes from the read before; their age is unchanged
        count: int = sock.recv_into(buffer)
        self._spend(count)
        return count

    def _wait_for_data(self) -> None:
        """Wait until something can be read, and note when the socket was empty before.

        The data stays in the socket until `received_after` is set, so `note_if_empty` on
        another thread cannot take the socket for empty between its arrival and that.
        """
        if self._poller is None:
            return
        instant = now()
        if not self._poller.poll(0):
            self._note_empty(instant)
            self._poller.poll()

    def _note_empty(self, instant: float) -> None:
        if instant > self.empty_at:  # else another thread has looked since
            self.empty_at = instant

    def _spend(self, count: int) -> None:
        if self.cancelled and count:  # a flood may have more in store
            raise LimitReached("stopped")
        self._allowance -= count
        if self._allowance < 0:
            raise LimitReached(f"{ALLOWANCE} bytes of headers or framing without content")

    def _time_left(self) -> float | None:
        """Seconds until the deadline, None without one; TimeoutError once it has passed."""
        if self._deadline == inf:
            return None
        left = self._deadline - now()
        if left <= 0:
            raise TimeoutError("no complete answer in time")
        return left

    def _add_switch(self, sock: socket.socket) -> None:
        self._switches.append(sock.dup())
        if self.cancelled:
            raise LimitReached("stopped")


def _configure(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):  # Linux; other systems keep their defaults
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

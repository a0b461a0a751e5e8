"""The socket of an exchange: its deadline, its byte allowance and its off switch.

Standard library only. Whoever reads through a `Link` cannot be kept waiting, or
fed, for longer than it allows; `Link.cut` ends the exchange from any other thread.
"""

from __future__ import annotations

import io
import os
import socket
import threading
from contextlib import AbstractContextManager, suppress
from http.client import HTTPResponse
from math import inf
from typing import Any

from .clock import Flag, now
from .wire import READ_SIZE

__all__ = ["LimitReached", "Link", "MeteredResponse"]

ALLOWANCE = 128 * 1024
"""Raw bytes that may come in without a single byte of payload: headers, 1xx answers,
chunk extensions and trailers have no other limit."""

KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""Finds a host that has vanished while the stream is silent. A stopped process is found by GET."""


class LimitReached(OSError):
    """One of our own limits ended an exchange."""


class _LookUp:
    """One look-up of a host's addresses, in a thread of its own: it can be neither timed nor cut.

    The thread writes `_found`, then sets `done`; nobody reads `_found` before that.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._found: Any = None
        self.done = Flag()
        try:
            threading.Thread(target=self._run, name="elector-lookup", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is on its way out
            self._run()

    def _run(self) -> None:
        try:
            self._found = _addresses(*self._target)
        except (OSError, UnicodeError) as error:
            self._found = error
        self.done.set()

    def result(self) -> Any:
        """What was found, or raise why nothing was."""
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def _addresses(host: str, port: int, flags: int = 0) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)


class Link:
    """The socket of one exchange at a time: what it may still cost, and its off switch.

    `cut` may come from any thread. `_lock` protects `_socket` and `_cut` together:
    a socket is captured before the cut, and shut by it, or not captured at all.
    It is also held while a socket is closed (the system may hand out its number
    again) so that `cut` cannot shut a stranger's. Re-entrant, since a collection of
    garbage may close an old socket at any allocation. Deadline, allowance and buffer
    belong to the thread that runs the exchange. It alone writes `_look_up`, under `_lock` and
    before it looks at `_cut`, so that `cut` ends the wait for it or it does not wait.

    Threads that share a link take turns: `_whose` is the thread that has it, and the instant
    at which its exchange is over at the latest; `_turn` is the lock's condition. A wait for
    one's turn ends with `cut` as well: whoever has it may be the very thread that cuts, in
    a signal handler, and go on only afterwards. It ends at that instant, too: a handler that
    raises may have kept a turn from being given back.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._whose: tuple[int, float] | None = None
        self._socket: socket.socket | None = None
        self._cut = False
        self._look_up: _LookUp | None = None  # one at a time: a hanging one is waited for again
        self._deadline = inf
        self._allowance = ALLOWANCE
        self._buffer: io.BufferedReader | None = None  # of the newest response
        self.may_wait = True  # whether a read may go to the socket

    @property
    def is_mine(self) -> bool:
        """Whether it is this thread's turn already: a signal handler interrupted its exchange."""
        whose = self._whose
        return whose is not None and whose[0] == threading.get_ident() and now() < whose[1]

    def take_turn(self, seconds: float) -> bool:
        """Wait until nobody else has an exchange under way; False once cut.

        The turn is ours for ``seconds`` at most, unless `end_turn` ends it.
        """
        with self._turn:
            while (left := self._taken_for()) > 0 and not self._cut:
                self._turn.wait(min(left, threading.TIMEOUT_MAX))
            if self._cut:
                return False
            self._whose = (threading.get_ident(), now() + seconds)
            return True

    def take_free_turn(self) -> bool:
        """Take the turn if nobody has it, even after `cut`; False if somebody does."""
        with self._turn:
            if self._taken_for() > 0:
                return False
            self._whose = (threading.get_ident(), inf)
            return True

    def end_turn(self) -> None:
        """Let the next one have its turn; nothing, if it was not this thread's."""
        with self._turn:
            if self._whose is not None and self._whose[0] == threading.get_ident():
                self._whose = None
            if self._whose is None:  # also on: an interrupt may have ended our wait, but not
                self._turn.notify()  # before we were the one who was woken

    def _taken_for(self) -> float:
        """Seconds for which somebody may still have the turn."""
        return 0.0 if self._whose is None else self._whose[1] - now()

    def arm(self, seconds: float) -> None:
        """Begin an exchange that must be over in ``seconds``."""
        self._deadline = now() + seconds
        self.refill()

    def relax(self) -> None:
        """No deadline any more: an open stream may be silent for hours."""
        self._deadline = inf

    def refill(self) -> None:
        """Payload came in: the allowance starts anew."""
        self._allowance = ALLOWANCE

    def spend(self, count: int) -> None:
        """``count`` raw bytes came in. Refused after `cut`: a flood may have more in store."""
        if self._cut and count:
            raise LimitReached("stopped")
        self._allowance -= count
        if self._allowance < 0:
            raise LimitReached(f"{ALLOWANCE} bytes of headers or framing without content")

    def buffered(self, raw: MeteredReader) -> io.BufferedReader:
        """The buffer through which the next response is read."""
        self._buffer = io.BufferedReader(raw, 2 * READ_SIZE)
        return self._buffer

    def unread(self) -> bytes:
        """What has come in and was not read yet. Waits for nothing."""
        if self._buffer is None:
            return b""
        self.may_wait = False
        try:
            return self._buffer.peek(1)
        except ValueError:  # closed: the response has ended
            return b""
        finally:
            self.may_wait = True

    def remaining(self) -> float | None:
        """Seconds until the deadline, None without one; TimeoutError once it has passed."""
        if self._deadline == inf:
            return None
        left = self._deadline - now()
        if left <= 0:
            raise TimeoutError("no complete answer in time")
        return left

    def capture(self, sock: socket.socket) -> None:
        """From now on, `cut` shuts ``sock``."""
        with self._lock:
            if self._cut:
                sock.close()
                raise LimitReached("stopped")
            self._socket = sock

    def release(self) -> None:
        """The reader is about to close its socket."""
        with self._lock:
            self._socket = None

    def closing(self) -> AbstractContextManager[Any]:
        """To be entered while a socket is closed."""
        return self._lock

    @property
    def is_cut(self) -> bool:
        """Whether `cut` was called: what fails now is no failure of the elector's."""
        return self._cut

    def cut(self) -> None:
        """End whatever goes on, wake a blocked read, and refuse every later exchange."""
        with self._lock:
            self._cut = True
            self._turn.notify_all()
            if self._socket is not None:
                _shut(self._socket)
            if self._look_up is not None:
                self._look_up.done.set()

    def abandon(self) -> None:
        """In a forked child: give up our copy of the parent's socket. Takes no lock.

        Closing the copy leaves the connection alone; shutting it would end the parent's.
        Whoever held the lock is gone, and what is collected here later still enters it.
        """
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        sock, self._socket = self._socket, None
        self._cut = True
        if sock is not None and (number := sock.detach()) >= 0:
            os.close(number)

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket, captured from the start, so that even connecting can be cut."""
        error: OSError | None = None
        addresses = self._resolve(host, port)
        for index, (family, kind, proto, _, address) in enumerate(addresses):
            sock: socket.socket | None = None
            try:
                sock = socket.socket(family, kind, proto)  # refused where there is no IPv6
                self.capture(sock)
                left = self.remaining()
                share = len(addresses) - index  # one dead address must not use up the time
                sock.settimeout(None if left is None else left / share)
                _configure(sock)
                sock.connect(address)
                return sock
            except OSError as failure:
                error = failure
                self.release()
                if sock is not None:
                    sock.close()
        raise error or OSError(f"no address for {host}")

    def _resolve(self, host: str, port: int) -> list[Any]:
        """The host's addresses; the wait for them ends with the deadline and with `cut`."""
        if host == "localhost":  # what the platform says; known without asking anybody
            return _addresses(host, port)
        with suppress(socket.gaierror):
            return _addresses(host, port, socket.AI_NUMERICHOST)  # an address: nothing to look up
        look_up = self._look_up or _LookUp(host, port)
        with self._lock:
            self._look_up = look_up
        if not self._cut:
            look_up.done.wait(self.remaining())
        if self._cut:
            raise LimitReached("stopped")
        if not look_up.done.is_set():
            raise TimeoutError("no complete answer in time")
        with self._lock:
            self._look_up = None
        found: list[Any] = look_up.result()
        return found


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # not connected (any more): then nobody is blocked on it
        sock.shutdown(socket.SHUT_RDWR)


def _configure(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):  # Linux; other systems keep their own pace
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class MeteredReader(io.RawIOBase):
    """The raw bytes of a response, read under the link's deadline and allowance."""

    def __init__(self, raw: Any, sock: socket.socket, link: Link) -> None:
        self._raw = raw
        self._sock = sock
        self._link = link

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if not self._link.may_wait:
            return None
        timeout = self._link.remaining()
        if timeout is not None or self._sock.gettimeout() is not None:
            self._sock.settimeout(timeout)
        count = self._sock.recv_into(buffer)
        self._link.spend(count)
        return count

    def close(self) -> None:
        with self._link.closing():
            self._raw.close()
        super().close()


class MeteredResponse(HTTPResponse):
    """http.client's response, reading through a `MeteredReader`."""

    def __init__(self, sock: socket.socket, *args: Any, link: Link, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = link.buffered(MeteredReader(raw, sock, link))

"""`Elector.refresh`: through the poll thread, or on connections of its own without one."""

from __future__ import annotations

from .._sidecar.calls import SidecarClient
from .._sidecar.failures import ExchangeFailed
from .._sidecar.lease import LeaseClient
from .._state.clock import now
from .._state.health import Health
from .._state.occurrences import GetAnswered, GetFailed
from .._state.store import Store
from ..settings import LeaseSettings, Settings
from .poll import Poll, take_answer
from .verifier import Verifier

__all__ = ["Asking", "ask_poll"]


def ask_poll(poll: Poll, settings: Settings) -> str | None:
    """Have the poll thread ask; the reason if that failed."""
    request = poll.ask()
    # the GET under way and the one after it, each tried twice at most; a reading of the Lease
    # may come before and after each of them
    exchanges = 4 if settings.lease is None else 8
    if request.done.wait(exchanges * settings.request_timeout + 1.0):
        return request.failure
    return "no answer in time"


class Asking:
    """Exchanges of an elector that does not run, on the threads that call `Elector.refresh`.

    `_clients` holds what is under way, so that a stop can cancel it; each operation on the
    set is atomic.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._clients: set[SidecarClient | LeaseClient] = set()

    def clients(self) -> list[SidecarClient | LeaseClient]:
        """Those that may hold a connection now."""
        return list(self._clients)

    def ask(self, settings: Settings, store: Store) -> str | None:
        """Ask the sidecar once, and verify what it says; the reason if it did not answer."""
        began = now()
        client = SidecarClient(settings)
        self._clients.add(client)
        try:
            if store.closed:  # stopped before the stop could find the client
                return "stopped meanwhile"
            answer = client.ask()
        except ExchangeFailed as failure:
            if client.cancelled:
                return "stopped meanwhile"
            self._health.record(GetFailed(str(failure), now() - began))
            return str(failure)
        finally:
            self._clients.discard(client)
            client.close()
        take_answer(answer, store)
        self._health.record(GetAnswered(now() - began))
        if settings.lease is not None:
            self._verify(settings, settings.lease, store)
        return None

    def _verify(self, settings: Settings, lease: LeaseSettings, store: Store) -> None:
        """Read the Lease, if the sidecar names us."""
        client = LeaseClient(lease, settings.identity, settings.request_timeout)
        self._clients.add(client)
        verifier = Verifier(settings, client, store, self._health)
        try:
            verifier.verify()
        finally:
            self._clients.discard(client)
            verifier.close()

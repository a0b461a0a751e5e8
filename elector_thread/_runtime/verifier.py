"""When the Lease is read, and what follows from it, for ``verify="lease"``.

Only a pod that the sidecar names reads it: anew each time the sidecar begins to name it,
then every ``reconcile_interval``, and every ``poll_interval`` after a failed reading.
"""

from __future__ import annotations

import threading
from math import inf

from .._sidecar.failures import ExchangeFailed
from .._sidecar.lease import LeaseClient, NotPermitted
from .._state.clock import now
from .._state.health import Health
from .._state.model import LeaseReading, Snapshot
from .._state.occurrences import FenceMissing, LeaseAnswered, LeaseFailed, UnexpectedError
from .._state.store import Store
from ..settings import Settings

__all__ = ["Verifier"]


class Verifier:
    """Reads the Lease for the poll thread, or for a `refresh` without one. For one thread."""

    def __init__(
        self, settings: Settings, client: LeaseClient, store: Store, health: Health
    ) -> None:
        self._settings = settings
        self._client = client
        self._store = store
        self._health = health
        self._due = -inf  # when to read again for the same word of the sidecar
        self._least = -inf  # not before, whatever happens
        self._named_since = inf  # the word of the sidecar for which the Lease was read last

    def due(self) -> float:
        """When the Lease should be read next; ``inf`` while the sidecar does not name us."""
        snapshot = self._store.snapshot
        if not _is_named(snapshot):
            return inf
        if snapshot.named_since != self._named_since:
            return self._least
        return self._due

    def verify(self) -> None:
        """Read the Lease, if the sidecar names us, and take in what it says."""
        snapshot = self._store.snapshot
        if not _is_named(snapshot):
            return
        self._named_since = snapshot.named_since
        began = now()
        self._least = began + self._settings.poll_interval / 2  # two in a poll_interval at most
        pause = self._settings.poll_interval
        try:
            reading = self._client.read()
        except ExchangeFailed as failure:
            if not self._store.closed:
                permanent = isinstance(failure, NotPermitted)
                self._health.record(LeaseFailed(str(failure), permanent, now() - began))
        except Exception as bug:  # what was verified expires without us
            if not self._store.closed:
                self._health.record(UnexpectedError(threading.current_thread().name, bug))
        else:
            pause = self._settings.reconcile_interval
            self._take(reading, snapshot.identity, now() - began)
        self._due = max(now(), began + pause)

    def _take(self, reading: LeaseReading, identity: str, seconds: float) -> None:
        self._store.verify(reading)
        # an election that the sidecar has told us of meanwhile contradicts nothing
        named = _is_named(self._store.snapshot)
        problem = _contradiction(reading, identity) if named else None
        self._health.record(LeaseAnswered(problem, seconds))
        if reading.ours and reading.fence is None:
            self._health.record(FenceMissing())

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _is_named(snapshot: Snapshot) -> bool:
    return snapshot.named == snapshot.identity and now() < snapshot.named_until


def _contradiction(reading: LeaseReading, identity: str) -> str | None:
    """How the Lease contradicts the sidecar, which names ``identity``."""
    if reading.ours:
        return None
    if reading.holder is None:
        found = "there is no Lease"
    elif reading.holder == identity:
        found = f"the Lease belongs to another pod of the name {identity}"
    else:
        found = f"the Lease names {reading.holder}"
    return f"{found}, but the sidecar names this pod ({identity})"

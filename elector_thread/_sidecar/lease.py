"""Reading the Lease behind the election, for ``verify="lease"``.

The service account's token is read anew for each request, because it rotates, and never
appears in an error. Source: the elector creates one Lease for each term, owned by the
leader's pod, and never updates it (nais/elector); the API server answers a plain GET with
its newest version (Kubernetes API concepts, "Resource versions").
"""

from __future__ import annotations

import json
import ssl
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from .._state.clock import now
from .._state.model import LeaseReading
from ..settings import LeaseSettings
from .failures import (
    ConnectionDropped,
    ExchangeFailed,
    TimedOut,
    TlsFailed,
    UnexpectedAnswer,
    UntrustedCertificate,
)
from .http import HttpClient

__all__ = ["CredentialsMissing", "LeaseClient", "LeaseRecord", "NotPermitted", "PodRecord"]

MAX_BYTES = 1024 * 1024
"""The longest answer: a Lease has about 1 KiB, a Pod up to a few hundred."""

_first_fences: dict[str, int | None] = {}
"""For each term that this process has read, its resourceVersion when it was first read. An
annotation may raise it later, within the term. Each operation on it is atomic."""

MOST_TERMS = 16
"""How many terms `_first_fences` remembers."""


class NotPermitted(ExchangeFailed):
    """Verification cannot work until someone changes the set-up; the message says what.

    reason: the message without the advice that follows.
    """

    def __init__(self, reason: str, advice: str | None = None, status: int | None = None) -> None:
        super().__init__(reason if advice is None else f"{reason}; {advice}", status=status)
        self.reason = reason


class CredentialsMissing(NotPermitted):
    """The service account's token or CA certificate cannot be used."""


class ApiServerNotTrusted(NotPermitted, TlsFailed):
    """The API server's certificate is not one of this cluster."""


class LeaseRecord(NamedTuple):
    """The Lease as the API server has it.

    holder: the name in it. uid: identifies its term. fence: the term's number, if it has one.
    pod, owner: the name and the UID of the pod that owns it; without an owner, the holder's
    name and None.
    """

    holder: str
    uid: str
    fence: int | None
    pod: str
    owner: str | None


class PodRecord(NamedTuple):
    """A pod as the API server has it.

    phase: such as ``"Running"``. reason: such as ``"Evicted"``, mostly None.
    deletion: until when it should be gone (RFC 3339); None unless it is being deleted.
    """

    uid: str | None
    phase: str | None
    reason: str | None
    deletion: str | None


class LeaseClient:
    """Reads the Lease and pods over one kept-alive connection. For one thread.

    `cancel` may be called by any thread.
    """

    def __init__(self, settings: LeaseSettings, identity: str, timeout: float) -> None:
        self._settings = settings
        self._identity = identity
        self._timeout = timeout
        self._deadline = 0.0
        self._pod_uid: str | None = None
        self._pod_uid_for: str | None = None  # the term for which our pod was read
        self._client: HttpClient | None = None
        if settings.lease_url is not None:
            ca_file = self._file("ca.crt")
            self._client = HttpClient(settings.lease_url, "application/json", timeout, ca_file)

    def problem(self) -> str | None:
        """What is missing for any reading, if anything is."""
        missing = self.missing()
        return None if missing is None else str(missing)

    def missing(self) -> NotPermitted | None:
        """The failure of any reading, because something is missing; None if nothing is."""
        if self._settings.lease_url is None:
            return NotPermitted(str(self._settings.problem), _ON_NAIS)
        try:
            self._authorization()
        except CredentialsMissing as missing:
            return missing
        ca_file = self._file("ca.crt")
        if ca_file is not None and not _holds_certificates(ca_file):
            return CredentialsMissing(f"there is no CA certificate in {ca_file}", _ON_NAIS)
        return None

    def read(self) -> LeaseReading:
        """Read the Lease, and our own pod if need be, in ``request_timeout`` altogether.

        Raises `NotPermitted` if it cannot work as things are set up, else `ExchangeFailed`.
        """
        asked_at = now()
        lease = self.read_lease()
        if lease is None:
            return LeaseReading(asked_at)
        holder, uid, owner = lease.holder, lease.uid, lease.owner
        ours = holder == self._identity and owner is not None and owner == self._own_uid(uid)
        return LeaseReading(asked_at, holder, uid, lease.fence, ours)

    def read_lease(self) -> LeaseRecord | None:
        """Read the Lease alone; None if there is none. Raises as `read` does."""
        self._begin()
        assert self._settings.lease_url is not None, "else there is a problem"
        lease = self._ask(self._settings.lease_url, "the Lease")
        if lease is None:
            return None
        holder = _text(lease, "spec", "holderIdentity")
        uid = _text(lease, "metadata", "uid")
        if holder is None or uid is None:
            raise UnexpectedAnswer("expected a Lease with a holderIdentity and a uid")
        fence = _first_fence(uid, _text(lease, "metadata", "resourceVersion"))
        owner = _owner(lease)
        pod = _text(owner, "name") or holder
        return LeaseRecord(holder, uid, fence, pod, _text(owner, "uid"))

    def read_pod(self, name: str) -> PodRecord | None:
        """Read any pod of the Lease's namespace; None if there is none. Raises as `read` does."""
        self._begin()
        assert self._settings.pod_url is not None, "it comes with the Lease's URL"
        folder = self._settings.pod_url.rpartition("/")[0]
        pod = self._ask(f"{folder}/{quote(name, safe='')}", f"the pod {name}")
        if pod is None:
            return None
        return PodRecord(
            _text(pod, "metadata", "uid"),
            _text(pod, "status", "phase"),
            _text(pod, "status", "reason"),
            _text(pod, "metadata", "deletionTimestamp"),
        )

    def close(self) -> None:
        """Close the idle connection. For the thread that reads."""
        if self._client is not None:
            self._client.close()

    def cancel(self) -> None:
        """End the reading under way, from any thread, and refuse later ones."""
        if self._client is not None:
            self._client.cancel()

    def abandon(self) -> None:
        """In a forked child: close our copy of the parent's socket."""
        if self._client is not None:
            self._client.transport.abandon()

    # --- our own pod -----------------------------------------------------------------------

    def _own_uid(self, term: str) -> str | None:
        """Our pod's UID: from the token, if it is bound to the pod, else by asking, once a term.

        None if the pod is gone: then the Lease cannot be ours.
        """
        token = self._token()
        if token is not None and (uid := _uid_in(token)) is not None:
            return uid
        if self._pod_uid_for != term:
            assert self._settings.pod_url is not None, "it comes with the Lease's URL"
            pod = self._ask(self._settings.pod_url, "this pod")
            uid = None if pod is None else _text(pod, "metadata", "uid")
            if pod is not None and uid is None:
                raise UnexpectedAnswer("expected a Pod with a uid")
            self._pod_uid, self._pod_uid_for = uid, term
        return self._pod_uid

    # --- asking ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """A new ``request_timeout`` for all that follows. Raises `NotPermitted`."""
        self._deadline = now() + self._timeout
        if missing := self.missing():
            raise missing

    def _ask(self, url: str, what: str) -> dict[str, Any] | None:
        """The object at ``url``; None if there is none. A token that was refused is read again."""
        status, body = self._get(url)
        if status == 401:
            status, body = self._get(url)
        if status == 404:
            return None
        if status == 403:
            raise NotPermitted(
                f"the API server forbids reading {what} (HTTP 403)",
                "bind the pod's service account to a role that may get leases and pods; "
                f"{_ON_NAIS}",
                status,
            )
        if status != 200:
            raise ExchangeFailed(f"HTTP {status} from the API server", status=status)
        found = _object_in(body)
        if found is None:  # not quoted: it may echo the token
            raise UnexpectedAnswer("expected a JSON object from the API server, got something else")
        return found

    def _get(self, url: str) -> tuple[int, bytes]:
        """One GET; asked once more if the kept-alive connection was closed meanwhile."""
        assert self._client is not None, "else there is a problem"
        reused = self._client.reused
        try:
            return self._get_once(url)
        except ConnectionDropped:
            if not reused:
                raise
        return self._get_once(url)

    def _get_once(self, url: str) -> tuple[int, bytes]:
        assert self._client is not None, "else there is a problem"
        left = self._deadline - now()
        if left <= 0:
            raise TimedOut("no complete answer in time")
        try:
            with self._client.get(url, self._authorization(), left) as exchange:
                return exchange.status, exchange.read(MAX_BYTES)
        except UntrustedCertificate as failure:
            raise ApiServerNotTrusted(
                f"the API server's certificate is not trusted ({failure}): expected the CA "
                f"certificate of this cluster in {self._file('ca.crt')}"
            ) from None

    def _authorization(self) -> dict[str, str]:
        token = self._token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _token(self) -> str | None:
        """The service account's token, read anew; None where none is sent."""
        file = self._file("token")
        if file is None:
            return None
        try:
            content = file.read_bytes()
        except OSError:
            raise CredentialsMissing(f"the token {file} cannot be read", _ON_NAIS) from None
        # not decoded before it is known to be ASCII: the error would hold the token
        token = content.decode().strip() if content.isascii() else ""
        if not token or not token.isprintable() or " " in token:
            raise CredentialsMissing(f"the token {file} is empty, or not one line of ASCII")
        return token

    def _file(self, name: str) -> Path | None:
        folder = self._settings.service_account
        return None if folder is None else folder / name


_ON_NAIS = (
    "on NAIS, 'spec.leaderElection: true' in the manifest provides it; elsewhere, see the page "
    '"Without NAIS" of the documentation'
)


def _holds_certificates(ca_file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except OSError:  # also if it holds something else
        return False
    return True


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(found: dict[str, Any], *path: str) -> str | None:
    """The text at a path of keys; None if there is none, or it is something else."""
    value: Any = found
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value and value.isprintable() else None


def _owner(lease: dict[str, Any]) -> dict[str, Any]:
    """The reference to the pod that owns the Lease; empty if there is none."""
    metadata = lease.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    first = owners[0] if isinstance(owners, list) and owners else None
    return first if isinstance(first, dict) else {}


def _uid_in(token: str) -> str | None:
    """The pod's UID in a bound service account token, which is not trusted for anything else."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError, RecursionError):
        return None
    return _text(claims, "kubernetes.io", "pod", "uid") if isinstance(claims, dict) else None


def _first_fence(uid: str, version: str | None) -> int | None:
    """The fence of a term. None if its resourceVersion is not a decimal number: it has no order."""
    decimal = version is not None and version.isascii() and version.isdigit() and len(version) < 20
    fence = _first_fences.setdefault(uid, int(version or 0) if decimal else None)
    for oldest in list(_first_fences)[:-MOST_TERMS]:
        _first_fences.pop(oldest, None)
    return fence

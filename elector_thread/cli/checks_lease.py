"""``doctor``: the Lease behind the election.

With ``verify="lease"`` it must be readable. Otherwise it is read if the platform provides
what that takes, and only the state of the leader's pod can be a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

from .. import ConfigurationError
from .._sidecar.failures import ExchangeFailed
from .._sidecar.lease import LeaseClient, LeaseRecord, NotPermitted
from ..settings import LeaseSettings, Settings, resolve
from .checks_pod import check_pod
from .findings import NOTE, OK, PROBLEM, Finding
from .lease_remedies import Resource, reason_of, remedy_for

__all__ = ["check_lease"]

CHECK = "Lease"

_NAMES = re.compile(r"/namespaces/([^/]+)/leases/([^/]+)$")


def check_lease(
    settings: Settings, env: Mapping[str, str], leader: str | None
) -> Iterator[Finding]:
    """What the Lease and its pod say. leader: the leader according to the sidecar."""
    if not settings.configured:
        return
    if settings.lease is not None:
        yield from _LeaseCheck(settings, settings.lease, env, leader).findings()
        return
    for finding in _for_information(settings, env, leader):
        about_verification = finding.level == PROBLEM and finding.check == CHECK
        yield replace(finding, level=NOTE) if about_verification else finding


def _for_information(
    settings: Settings, env: Mapping[str, str], leader: str | None
) -> Iterator[Finding]:
    """The findings with ``verify="none"``: a quiet note if the platform provides no Lease."""
    try:
        lease = resolve(env, verify="lease").lease
    except ConfigurationError as error:
        yield Finding(NOTE, CHECK, f"verify='lease' would not work: {error}")
        return
    assert lease is not None, "an elector is configured"
    check = _LeaseCheck(settings, lease, env, leader)
    missing = check.missing()
    if missing is None:
        yield from check.findings()
        return
    message = f"not read: verify is 'none', and 'lease' would not work: {reason_of(missing)}"
    yield Finding(NOTE, CHECK, message)


class _LeaseCheck:
    """The checks of one Lease, of the pod that it names, and of what the sidecar says."""

    def __init__(
        self,
        settings: Settings,
        lease: LeaseSettings,
        env: Mapping[str, str],
        leader: str | None,
    ) -> None:
        self._settings = settings
        self._lease_settings = lease
        self._env = env
        self._leader = leader
        self._client = LeaseClient(lease, settings.identity, settings.request_timeout)
        found = _NAMES.search(lease.lease_url or "")
        self._namespace, self._name = (unquote(found[1]), unquote(found[2])) if found else ("", "")
        self._this_pod = unquote((lease.pod_url or "").rpartition("/")[2])

    def missing(self) -> NotPermitted | None:
        """The failure of any reading, because something is missing; None if nothing is."""
        return self._client.missing()

    def findings(self) -> Iterator[Finding]:
        """Read both, and close the connection."""
        try:
            yield from self._examine()
        finally:
            self._client.close()

    def _examine(self) -> Iterator[Finding]:
        try:
            lease = self._client.read_lease()
        except ExchangeFailed as failure:
            yield self._unreadable("leases", "the Lease", failure)
            return
        yield self._compared(lease)
        if lease is None:
            return
        try:
            pod = self._client.read_pod(lease.pod)
        except ExchangeFailed as failure:
            yield self._unreadable("pods", f"the pod {lease.pod}", failure)
            return
        yield check_pod(pod, lease, self._name, self._namespace, datetime.now(UTC))

    def _unreadable(self, resource: Resource, what: str, failure: ExchangeFailed) -> Finding:
        message = reason_of(failure)
        if what not in message:
            message = f"{what} cannot be read: {message}"
        if self._verifies:
            message += "; this pod cannot become the leader"
        else:
            message += "; verify='lease' would not work"
        remedy = remedy_for(failure, resource, self._lease_settings, self._env)
        return Finding(PROBLEM, CHECK, message, remedy)

    @property
    def _verifies(self) -> bool:
        return self._settings.lease is not None

    # --- the sidecar's answer and the Lease ---------------------------------------------------

    def _compared(self, lease: LeaseRecord | None) -> Finding:
        where = f"the Lease {self._namespace}/{self._name}"
        if lease is not None and self._leader in (None, lease.holder):
            agrees = "" if self._leader is None else ", as the sidecar does"
            could = "" if self._verifies else "; verify='lease' could read it"
            return Finding(OK, CHECK, f"{where} names {lease.holder}{agrees}{could}")
        if self._leader is None:
            return Finding(OK, CHECK, f"{where} does not exist: no pod leads at present")
        found = f"{where} does not exist" if lease is None else f"{where} names {lease.holder}"
        gone = ", whose pod no longer exists" if self._is_gone(self._leader) else ""
        return Finding(
            PROBLEM,
            CHECK,
            f"{found}, but the sidecar names {self._leader}{gone}. The Lease is right, since the "
            f"sidecar answers from memory: {self._consequence(lease)}",
            self._remedy(lease),
        )

    def _is_gone(self, pod: str) -> bool:
        try:
            return self._client.read_pod(pod) is None
        except ExchangeFailed:  # not worth a finding of its own
            return False

    def _consequence(self, lease: LeaseRecord | None) -> str:
        identity = self._settings.identity
        if self._leader == identity:
            if self._verifies:
                return "this pod is not the leader"
            other = "the next leader" if lease is None else lease.holder
            return f"this pod and {other} may both lead, which verify='lease' prevents"
        if lease is None:
            return f"{self._leader} is not the leader"
        if lease.holder == identity:
            return "this pod was elected, but its sidecar does not name it"
        return f"the leader is {lease.holder}"

    def _remedy(self, lease: LeaseRecord | None) -> str:
        name = "" if lease else f"the elector's --election is not {self._name}, or "
        return (
            "this is normal for seconds during an election: run doctor again. If it lasts, "
            f"{name}the sidecar has lost the API server; to replace the sidecar: "
            f"kubectl delete pod {self._this_pod} -n {self._namespace}"
        )

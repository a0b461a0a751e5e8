"""``doctor``: why the API server does not answer, and which line of a manifest changes that.

The type and the status of a failure decide, never its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from .._sidecar.failures import ExchangeFailed, TlsFailed, UnexpectedAnswer
from .._sidecar.lease import CredentialsMissing, NotPermitted
from ..settings import LeaseSettings
from .findings import MANIFEST

__all__ = ["Resource", "reason_of", "remedy_for"]

Resource: TypeAlias = Literal["leases", "pods"]
"""What could not be read, as a Role names it."""

RBAC = "examples/kubernetes/rbac.yaml"

API_GROUPS: dict[Resource, str] = {"leases": "coordination.k8s.io", "pods": '""'}

OTHER_PROGRAM = (
    "another program answers there; check KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and "
    "ELECTOR_THREAD_LEASE_URL"
)

FOR_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": (
        "Kubernetes sets them in every container: run doctor with the container's own "
        "environment (kubectl exec POD -- elector-thread doctor). Outside of Kubernetes, "
        "use verify='none', or set ELECTOR_THREAD_LEASE_URL"
    ),
    "NAIS_APP_NAME": "set NAIS_APP_NAME to the elector's --election, which is the Lease's name",
    "NAIS_NAMESPACE": (
        "set NAIS_NAMESPACE to the pod's namespace ('fieldPath: metadata.namespace'), or "
        "'automountServiceAccountToken: true' in the pod's spec"
    ),
}
"""The remedy for each variable that `LeaseSettings.missing` may name."""


def reason_of(failure: ExchangeFailed) -> str:
    """The failure in one clause, without what to do about it."""
    return failure.reason if isinstance(failure, NotPermitted) else str(failure)


def remedy_for(
    failure: ExchangeFailed, resource: Resource, lease: LeaseSettings, env: Mapping[str, str]
) -> str:
    """What to change so that the Lease and the pods can be read."""
    on_nais = bool(env.get("NAIS_CLUSTER_NAME"))
    if failure.status is not None:
        return _for_status(failure.status, resource, lease, on_nais)
    if isinstance(failure, UnexpectedAnswer):
        return OTHER_PROGRAM
    if lease.missing is not None:
        return FOR_VARIABLES[lease.missing]
    if isinstance(failure, TlsFailed):
        return (
            "KUBERNETES_SERVICE_HOST or ELECTOR_THREAD_LEASE_URL is not the API server of this "
            f"cluster, or {lease.service_account}/ca.crt is damaged or another cluster's"
        )
    if isinstance(failure, CredentialsMissing):
        return _for_files(lease, on_nais)
    return _for_network(lease, on_nais)


def _for_status(status: int, resource: Resource, lease: LeaseSettings, on_nais: bool) -> str:
    if status == 403:
        return _for_permissions(resource, on_nais)
    if status == 401:
        return (
            "the API server refuses the token: it has expired, or the pod was deleted, or "
            f"{lease.service_account} belongs to another cluster. Replace the pod"
        )
    if status == 429 or status >= 500:
        return "the API server is overloaded or restarting: run doctor again later"
    return OTHER_PROGRAM


def _for_permissions(resource: Resource, on_nais: bool) -> str:
    if on_nais:
        return (
            f"{MANIFEST}: it adds the RoleBinding elector-… that binds the application's service "
            "account to the ClusterRole elector"
        )
    return (
        f"bind the pod's service account to a Role with 'apiGroups: [{API_GROUPS[resource]}], "
        f"resources: [{resource}], verbs: [get]', as {RBAC} does, and check that its "
        "RoleBinding has the pod's 'serviceAccountName' among its subjects"
    )


def _for_files(lease: LeaseSettings, on_nais: bool) -> str:
    mount = "'automountServiceAccountToken: true' in the pod's spec mounts token and ca.crt"
    how = MANIFEST if on_nais else mount
    return f"{how}; ELECTOR_THREAD_SERVICE_ACCOUNT, now {lease.service_account}, is their folder"


def _for_network(lease: LeaseSettings, on_nais: bool) -> str:
    server = urlsplit(lease.lease_url or "").netloc
    if on_nais:
        return (
            "the network policy opens the API server only to pods with leader election: "
            f"{MANIFEST}. If it is set, check that {server} is the API server"
        )
    return (
        f"allow egress to {server} in the pod's NetworkPolicy, and check that the API server is "
        "there"
    )

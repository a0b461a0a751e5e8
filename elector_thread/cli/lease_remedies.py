"""``doctor``: why the API server does not answer, and which line of a manifest changes that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..settings import LeaseSettings
from .findings import MANIFEST

__all__ = ["reason_of", "remedy_for"]

_ADVICE = re.compile(r"; on NAIS|: bind the pod's service account")
"""Where the text of a failure begins to say what to do, which is the remedy's part here."""

RBAC = "examples/kubernetes/rbac.yaml"


def reason_of(failure: str) -> str:
    """The failure in one clause, without what to do about it."""
    return _ADVICE.split(failure)[0]


def remedy_for(failure: str, lease: LeaseSettings, env: Mapping[str, str]) -> str:
    """What to change so that the Lease and the pods can be read."""
    on_nais = bool(env.get("NAIS_CLUSTER_NAME"))
    if "HTTP 403" in failure:
        return _for_permissions(failure, on_nais)
    if "HTTP 401" in failure:
        return (
            "the API server refuses the token: it has expired, or the pod was deleted, or "
            f"{lease.service_account} belongs to another cluster. Replace the pod"
        )
    if "HTTP 429" in failure or "HTTP 5" in failure:
        return "the API server is overloaded or restarting: run doctor again later"
    if re.search(r"HTTP \d|^expected|not understood as HTTP", failure):
        return (
            "another program answers there; check KUBERNETES_SERVICE_HOST, "
            "KUBERNETES_SERVICE_PORT and ELECTOR_THREAD_LEASE_URL"
        )
    if " not set" in failure:
        return _for_variables(failure)
    if "TLS failed" in failure:
        return (
            "KUBERNETES_SERVICE_HOST or ELECTOR_THREAD_LEASE_URL is not the API server of this "
            f"cluster, or {lease.service_account}/ca.crt is damaged or another cluster's"
        )
    if "the token" in failure or "CA certificate" in failure:
        return _for_files(lease, on_nais)
    return _for_network(lease, on_nais)


def _for_permissions(failure: str, on_nais: bool) -> str:
    if on_nais:
        return (
            f"{MANIFEST}: it adds the RoleBinding elector-… that binds the application's service "
            "account to the ClusterRole elector"
        )
    group, resource = ('""', "pods") if "the pod" in failure else ("coordination.k8s.io", "leases")
    return (
        f"bind the pod's service account to a Role with 'apiGroups: [{group}], "
        f"resources: [{resource}], verbs: [get]', as {RBAC} does, and check that its "
        "RoleBinding has the pod's 'serviceAccountName' among its subjects"
    )


def _for_variables(failure: str) -> str:
    if "KUBERNETES_SERVICE" in failure:
        return (
            "Kubernetes sets them in every container: run doctor with the container's own "
            "environment (kubectl exec POD -- elector-thread doctor). Outside of Kubernetes, "
            "use verify='none', or set ELECTOR_THREAD_LEASE_URL"
        )
    if "NAIS_APP_NAME" in failure:
        return "set NAIS_APP_NAME to the elector's --election, which is the Lease's name"
    return (
        "set NAIS_NAMESPACE to the pod's namespace ('fieldPath: metadata.namespace'), or "
        "'automountServiceAccountToken: true' in the pod's spec"
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

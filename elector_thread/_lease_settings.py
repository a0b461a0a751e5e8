"""Where the Lease behind the election is, for ``verify="lease"``. Part of `settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ._urls import check_url, is_loopback, shown
from ._variables import from_env, variable
from .errors import ConfigurationError

__all__ = ["LeaseSettings", "lease_settings"]

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""The folder in which Kubernetes mounts the token, the CA certificate and the namespace."""

_OBJECT_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_LEASE_PATH = re.compile(
    r"(?P<root>[^?#]*)/apis/coordination\.k8s\.io/v1"
    rf"/namespaces/(?P<namespace>{_OBJECT_NAME})/leases/{_OBJECT_NAME}"
)


class LeaseSettings(NamedTuple):
    """Where the Lease behind the election is, for ``verify="lease"``.

    lease_url, pod_url: of the Lease, and of our own pod; None if there is no address for them.
    service_account: the folder with ``token`` and ``ca.crt``; None if none is needed, because
        the API is a local elector on this machine.
    problem: what is missing, if anything is. missing: the variable that would provide it.
    """

    lease_url: str | None
    pod_url: str | None
    service_account: Path | None
    problem: str | None = None
    missing: str | None = None


class _Missing(NamedTuple):
    """What is missing for an address, and the variable that would provide it."""

    problem: str
    variable: str


def lease_settings(identity: str, env: Mapping[str, str]) -> LeaseSettings:
    """Where the platform says the Lease is, or where ``ELECTOR_THREAD_LEASE_URL`` does."""
    folder = Path(from_env("service_account", env) or SERVICE_ACCOUNT)
    url, source = from_env("lease_url", env), variable("lease_url")
    if url is None:
        found = _lease_url_from(folder, env)
        if isinstance(found, _Missing):
            return LeaseSettings(None, None, folder, *found)
        url = found
        source = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"
    parts = urlsplit(check_url(source, url))
    match = _LEASE_PATH.fullmatch(url)
    if match is None or "@" in parts.netloc:  # a password would be sent beside the token
        raise ConfigurationError(
            f"{source}: expected a URL https://HOST:PORT/apis/coordination.k8s.io/v1/namespaces/"
            f"NAMESPACE/leases/NAME, got {shown(url)}"
        )
    if parts.scheme == "http" and not is_loopback(url):
        raise ConfigurationError(
            f"{source}: expected an https:// URL, or http:// on this machine; got {shown(url)}"
        )
    pod = env.get("NAIS_POD_NAME", "").strip() or identity
    pod_url = f"{match['root']}/api/v1/namespaces/{match['namespace']}/pods/{quote(pod, safe='')}"
    return LeaseSettings(url, pod_url, folder if parts.scheme == "https" else None)


def _lease_url_from(folder: Path, env: Mapping[str, str]) -> str | _Missing:
    """The Lease's URL by the platform's variables."""
    host = env.get("KUBERNETES_SERVICE_HOST", "").strip()
    port = env.get("KUBERNETES_SERVICE_PORT", "").strip()
    name = _object_name("NAIS_APP_NAME", env)
    namespace = _object_name("NAIS_NAMESPACE", env)
    if not host or not port:
        problem = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"
        return _Missing(problem, "KUBERNETES_SERVICE_HOST")
    if name is None:
        return _Missing("NAIS_APP_NAME is not set; it names the Lease", "NAIS_APP_NAME")
    if namespace is None:
        try:
            namespace = (folder / "namespace").read_text("utf-8").strip()
        except (OSError, ValueError):
            namespace = ""
        if not re.fullmatch(_OBJECT_NAME, namespace):
            problem = f"NAIS_NAMESPACE is not set, and {folder / 'namespace'} holds no name"
            return _Missing(problem, "NAIS_NAMESPACE")
    host = f"[{host}]" if ":" in host else host
    path = f"namespaces/{namespace}/leases/{name}"
    return f"https://{host}:{port}/apis/coordination.k8s.io/v1/{path}"


def _object_name(variable: str, env: Mapping[str, str]) -> str | None:
    name = env.get(variable, "").strip()
    if name and not re.fullmatch(_OBJECT_NAME, name):
        raise ConfigurationError(f"{variable}: expected the name of an object, got {name!r}")
    return name or None

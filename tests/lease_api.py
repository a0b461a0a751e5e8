"""A sidecar and a Kubernetes API on one scripted server, for ``verify="lease"``."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from .scripted import JSON_HEAD, Connection, ScriptedServer, answer, result

LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/team/leases/app"
PODS = "/api/v1/namespaces/team/pods/"


def status(code: int) -> bytes:
    """An error as the API server answers it."""
    body = json.dumps({"kind": "Status", "status": "Failure", "code": code}).encode()
    return answer(body, b"HTTP/1.1 %d Nope\r\nContent-Type: application/json\r\n" % code)


class LeaseApi:
    """What the API server of a test says; `server` answers GETs of the sidecar as before.

    `lease` and `pods` hold the objects; None or a missing pod is 404. `on_lease`, `on_pod`
    and `on_get` (the sidecar's), if set, replace the answers. `tokens` holds the Authorization
    header of each request, None where there was none.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.lease: dict[str, Any] | None = None
        self.pods: dict[str, str] = {"pod-a": "uid-a"}
        self.on_lease: Callable[[Connection], object] | None = None
        self.on_pod: Callable[[Connection], object] | None = None
        self.on_get: Callable[[Connection], object] | None = None
        self.lease_requests = 0
        self.pod_requests = 0
        self.tokens: list[str | None] = []
        self._version = 1000
        server.on_get = self._answer

    @property
    def url(self) -> str:
        """The Lease's."""
        return f"{self.server.get_url.rstrip('/')}{LEASE_PATH}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "ELECTOR_THREAD_LEASE_URL": self.url,
            "ELECTOR_THREAD_VERIFY": "lease",
        }

    def elect(self, holder: str | None, uid: str | None = None) -> None:
        """A new term in the cluster; the sidecar does not learn of it."""
        self._version += 10
        if holder is None:
            self.lease = None
            return
        owner = self.pods.get(holder, f"uid-of-{holder}") if uid is None else uid
        self.lease = {
            "metadata": {
                "uid": f"term-{self._version}",
                "resourceVersion": str(self._version),
                "ownerReferences": [{"kind": "Pod", "name": holder, "uid": owner}],
            },
            "spec": {"holderIdentity": holder},
        }

    def _answer(self, connection: Connection) -> None:
        path = connection.path
        if path.startswith(("/apis/", "/api/")):
            self.tokens.append(_authorization(connection.head))
        if path == LEASE_PATH:
            self.lease_requests += 1
            (self.on_lease or self.send_lease)(connection)
        elif path.startswith(PODS):
            self.pod_requests += 1
            (self.on_pod or self.send_pod)(connection)
        elif self.on_get is not None:
            self.on_get(connection)
        else:
            connection.send(answer(result(self.server.leader)))

    def send_lease(self, connection: Connection) -> None:
        if self.lease is None:
            connection.send(status(404))
        else:
            connection.send(answer(json.dumps(self.lease).encode(), JSON_HEAD))

    def send_pod(self, connection: Connection) -> None:
        uid = self.pods.get(connection.path.removeprefix(PODS))
        pod = {"metadata": {"uid": uid}}
        connection.send(status(404) if uid is None else answer(json.dumps(pod).encode()))


def _authorization(head: str) -> str | None:
    for line in head.split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "authorization":
            return value
    return None


def bound_token(claims: object, secret: str = "c2lnbmF0dXJl") -> str:
    """A token of a service account, as Kubernetes mounts it."""
    payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{payload}.{secret}"

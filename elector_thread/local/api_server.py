"""The part of the Kubernetes API server that verification by the Lease reads.

Runs on the local elector's event loop, so it needs no lock.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .faults import FaultKind
from .http_messages import HttpRequest, RequestReader, response_message
from .http_server import HttpServer
from .objects import LEASE_NAME, NAMESPACE, ObjectStore

__all__ = ["ApiServer"]

JSON_HEADERS = ("Cache-Control: no-cache, private", "Content-Type: application/json")
THROTTLED = b"Too many requests, please try again later.\n"
THROTTLED_HEADERS = ("Content-Type: text/plain; charset=utf-8", "Retry-After: 1")

LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}"
PATHS = {
    "pods": re.compile("/api/v1/namespaces/([^/]+)/pods/([^/]+)"),
    "leases": re.compile(LEASE_PATH.format("([^/]+)", "([^/]+)")),
}
GROUPS = {"pods": "", "leases": "coordination.k8s.io"}


class ApiServer:
    """Serves the Lease and the pods to one replica, on a loopback port of its own.

    Allows every GET: no token is sent over plain HTTP.

    Attributes: ``lease_url`` and ``gets`` (how many requests were sent to it).
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.gets = 0
        self._objects = objects
        self._http = HttpServer(self._answer_requests)
        self.lease_url = (
            f"http://127.0.0.1:{self._http.port}{LEASE_PATH.format(NAMESPACE, LEASE_NAME)}"
        )
        self._faults: frozenset[FaultKind] = frozenset()
        self._unauthorized_once = False
        self._not_hanging = asyncio.Event()
        self._not_hanging.set()

    def close(self) -> None:
        """End all connections and release the port, for good."""
        self._not_hanging.set()
        self._http.close()

    def expire_token(self) -> None:
        """Answer the next request with 401, and no other."""
        self._unauthorized_once = True

    async def set_faults(self, faults: frozenset[FaultKind]) -> None:
        """From now on these faults are active, and no others."""
        self._faults = faults
        if FaultKind.LEASE_HANG in faults:
            self._not_hanging.clear()
        else:
            self._not_hanging.set()
        if faults & {FaultKind.LEASE_REFUSE, FaultKind.SPLIT}:
            self._http.refuse()
        else:
            await self._http.open()

    async def _answer_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        requests = RequestReader(reader)
        keep_alive = True
        while keep_alive and (request := await requests.next()):
            keep_alive = request.keep_alive
            self.gets += 1
            await self._not_hanging.wait()
            writer.write(self._response(request))

    def _response(self, request: HttpRequest) -> bytes:
        if FaultKind.LEASE_429 in self._faults:
            return response_message(
                request, THROTTLED, *THROTTLED_HEADERS, status="429 Too Many Requests"
            )
        failure = self._fault_answer(request)
        found = None if failure else self._find(request)
        if found is not None:
            return response_message(request, _body(found), *JSON_HEADERS)
        failure = failure or _not_found(request)
        return response_message(request, failure.body(), *JSON_HEADERS, status=failure.status)

    def _fault_answer(self, request: HttpRequest) -> Failure | None:
        """What is answered instead of the object; None if the object is."""
        if FaultKind.LEASE_401 in self._faults or self._unauthorized_once:
            self._unauthorized_once = False
            return Failure(401, "Unauthorized", "Unauthorized")
        if FaultKind.LEASE_500 in self._faults:
            return _internal_error("etcdserver: request timed out")
        if FaultKind.LEASE_403 in self._faults:
            return _forbidden(request)
        if request.method != "GET":
            return Failure(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
                {},
            )
        return None

    def _find(self, request: HttpRequest) -> dict[str, Any] | None:
        match _parse(request.path):
            case ("pods", namespace, name):
                pod = self._objects.find_pod(namespace, name)
                return None if pod is None else pod.as_dict()
            case ("leases", namespace, name):
                lease = self._objects.find_lease(namespace, name)
                return None if lease is None else lease.as_dict()
        return None


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer of the kind ``Status``, for a request that failed."""

    code: int
    reason: str
    message: str
    details: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """The status line, without the HTTP version."""
        return f"{self.code} {HTTPStatus(self.code).phrase}"

    def body(self) -> bytes:
        """The body, in the key order of the API server."""
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }
        return _body({key: value for key, value in status.items() if value is not None})


def _parse(path: str) -> tuple[str, str, str] | None:
    """Resource, namespace and name; None if it is the path of nothing that is served."""
    for resource, pattern in PATHS.items():
        if match := pattern.fullmatch(path):
            return resource, match[1], match[2]
    return None


def _not_found(request: HttpRequest) -> Failure:
    target = _parse(request.path)
    if target is None:
        message = "the server could not find the requested resource"
        return Failure(404, "NotFound", message, {})
    resource, _, name = target
    return Failure(
        404, "NotFound", f'{_qualified(resource)} "{name}" not found', _details(resource, name)
    )


def _forbidden(request: HttpRequest) -> Failure:
    resource, namespace, name = _parse(request.path) or ("leases", NAMESPACE, LEASE_NAME)
    message = (
        f'{_qualified(resource)} "{name}" is forbidden: '
        f'User "system:serviceaccount:{namespace}:{LEASE_NAME}" cannot get resource '
        f'"{resource}" in API group "{GROUPS[resource]}" in the namespace "{namespace}"'
    )
    return Failure(403, "Forbidden", message, _details(resource, name))


def _internal_error(cause: str) -> Failure:
    message = f"Internal error occurred: {cause}"
    return Failure(500, "InternalError", message, {"causes": [{"message": cause}]})


def _qualified(resource: str) -> str:
    return ".".join(filter(None, (resource, GROUPS[resource])))


def _details(resource: str, name: str) -> dict[str, Any]:
    details = {"name": name, "group": GROUPS[resource], "kind": resource}
    return {key: value for key, value in details.items() if value}


def _body(found: dict[str, Any]) -> bytes:
    """Compact JSON and a line end, as the API server writes it."""
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

"""The pods and the Lease of the simulated cluster, in the JSON of the Kubernetes API.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (Lease v1, Pod v1). A Lease
has the fields that the platform's elector sets, and no others.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["LEASE_NAME", "NAMESPACE", "LeaseObject", "ObjectStore", "PodObject"]

NAMESPACE = "local"
LEASE_NAME = "app"


def _new_uid() -> str:
    return str(uuid.uuid4())


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PodObject:
    """One pod. A pod that replaces another one has another UID, even under the same name."""

    name: str
    version: int
    uid: str = field(default_factory=_new_uid)
    created: datetime = field(default_factory=_now)

    def as_dict(self) -> dict[str, Any]:
        """The body of ``GET /api/v1/namespaces/NAMESPACE/pods/NAME``."""
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": _metadata(self),
            "spec": {"containers": [{"name": LEASE_NAME, "image": LEASE_NAME}]},
            "status": {"phase": "Running", "startTime": _seconds(self.created)},
        }


@dataclass(frozen=True, slots=True)
class LeaseObject:
    """The Lease of one term: created when the term begins, and never updated."""

    owner: PodObject
    version: int
    name: str = LEASE_NAME
    uid: str = field(default_factory=_new_uid)
    created: datetime = field(default_factory=_now)

    def as_dict(self) -> dict[str, Any]:
        """The body of ``GET /apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases/NAME``."""
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": self.owner.name,
            "uid": self.owner.uid,
        }
        return {
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": {**_metadata(self), "ownerReferences": [owner]},
            "spec": {
                "holderIdentity": self.owner.name,
                "acquireTime": self.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


class ObjectStore:
    """The objects that exist now. Each new object has a higher resourceVersion than all before.

    ``lease`` is None while no leader is elected.
    """

    def __init__(self) -> None:
        self.lease: LeaseObject | None = None
        self._pods: dict[str, PodObject] = {}
        # Not from 1: a database on this machine may hold a fence of an earlier run.
        self._version = time.time_ns() // 1_000_000

    def add_pod(self, name: str) -> PodObject:
        """The pod of that name, which is created if it does not exist."""
        if name not in self._pods:
            self._pods[name] = PodObject(name, self._next_version())
        return self._pods[name]

    def delete_pod(self, name: str) -> None:
        """Delete a pod, and with it the Lease that it owns."""
        pod = self._pods.pop(name, None)
        if self.lease is not None and self.lease.owner is pod:
            self.lease = None

    def begin_term(self, holder: str) -> None:
        """Create the Lease of a new term, unless the holder stays the same."""
        if self.lease is None or self.lease.owner.name != holder:
            self.lease = LeaseObject(self.add_pod(holder), self._next_version())

    def end_term(self) -> None:
        """Delete the Lease."""
        self.lease = None

    def find_pod(self, namespace: str, name: str) -> PodObject | None:
        """The pod, or None if it does not exist."""
        return self._pods.get(name) if namespace == NAMESPACE else None

    def find_lease(self, namespace: str, name: str) -> LeaseObject | None:
        """The Lease, or None if it does not exist."""
        return self.lease if (namespace, name) == (NAMESPACE, LEASE_NAME) else None

    def _next_version(self) -> int:
        self._version += 1
        return self._version


def _metadata(found: PodObject | LeaseObject) -> dict[str, Any]:
    return {
        "name": found.name,
        "namespace": NAMESPACE,
        "uid": found.uid,
        "resourceVersion": str(found.version),
        "creationTimestamp": _seconds(found.created),
    }


def _seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
